"""`bin/test`: which tests it runs, how many at once, and what it says beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parts import ROOT
from tests.unit.bin.copies import copied_checkout, mark_as_set_up, programs, python_front, run

SPREAD = ["--numprocesses", "logical", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
FAST = ["-m", "not slow", *SPREAD, "--ignore=tests/test_architecture.py"]
SLOW = ["-m", "slow"]
THROUGH = ["-m", "not slow or ends", *SPREAD]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], FAST),
        (["-x", "-k", "name"], [*FAST, "-x", "-k", "name"]),
        (["--slow"], SLOW),
        (["--slow", "--maxfail=1"], [*SLOW, "--maxfail=1"]),
        (["--slow", "bin"], [*SLOW, "bin"]),
        (["--through-front"], THROUGH),
        (["--through-front", "-x"], [*THROUGH, "-x"]),
        (["--through-front", "bin/test"], ["bin/test"]),
        (["bin/test", "-x"], ["bin/test", "-x"]),
        (["bin/test::test_one"], ["bin/test::test_one"]),
    ],
)
def test_a_whole_run_leaves_the_slow_tests_out_and_what_is_named_is_run(
    tmp_path: Path, given: list[str], expected: list[str]
) -> None:
    """The Python of the copy tells how it was started. Where it takes minutes, the first line says how many."""
    root = copied_checkout(tmp_path / "checkout")
    mark_as_set_up(root)
    python = root / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -m ] || exec python3 "$@"\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    done = run(root / "bin" / "test", *given, path=programs(tmp_path / "path", python3=python_front()))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if expected[0] == "-m":
        assert " minutes" in lines.pop(0)
    named = [line for line in lines if line.startswith("tests/")]
    assert lines == ["-m", "pytest", *expected, *named]
    assert bool(named) == (expected[:2] == THROUGH[:2])
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "given", [["tests/nope"], ["-x", "tests/nope"], ["bin", "tests/nope::test_one"], ["--slow", "tests/nope"]]
)
def test_a_path_that_is_not_there_is_named_at_once(tmp_path: Path, given: list[str]) -> None:
    """Beside workers pytest says no more than that no tests ran."""
    root = copied_checkout(tmp_path / "checkout")
    done = run(root / "bin" / "test", *given, path=programs(tmp_path / "path"))
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == "bin/test: there is no tests/nope; give a file or directory below tests/.\n"


@pytest.mark.parametrize("program", ["test", "check"])
def test_help_runs_nothing(tmp_path: Path, program: str) -> None:
    """Not even the set-up."""
    root = copied_checkout(tmp_path / "checkout")
    done = run(root / "bin" / program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) in range(1, 10)
    assert "set -eu" not in done.stdout
    assert not (root / ".venv").exists()


def test_a_check_of_a_part_is_refused(tmp_path: Path) -> None:
    """It would be one of the whole."""
    root = copied_checkout(tmp_path / "checkout")
    done = run(root / "bin" / "check", "tests/unit", path=programs(tmp_path / "path"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "takes no arguments" in done.stderr
