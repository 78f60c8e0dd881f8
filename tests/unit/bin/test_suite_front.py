"""`bin/test`: which tests it runs, how many at once, and what it says beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bin.copies import copied_checkout, mark_as_set_up, programs, python_front, run

FAST = ["-m", "not slow", "--numprocesses", "logical", "--maxprocesses", "4"]
FAST += ["--dist", "loadfile", "--no-loadscope-reorder"]
SLOW = ["-m", "slow"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], FAST),
        (["-x", "-k", "name"], [*FAST, "-x", "-k", "name"]),
        (["--slow"], SLOW),
        (["--slow", "--maxfail=1"], [*SLOW, "--maxfail=1"]),
        (["--slow", "bin"], [*SLOW, "bin"]),
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
    assert lines == ["-m", "pytest", *expected]
