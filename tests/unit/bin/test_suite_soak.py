"""`bin/soak suite` counts what a run says, and takes no run for green that is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.soaks.suite import Run, read_run, repeat

SUMMARY = """
=========================== short test summary info ============================
FAILED tests/a/test_one.py::test_it[a - b] - AssertionError: assert 1 == 2
FAILED tests/a/test_two.py::test_other
ERROR tests/b/test_three.py - ModuleNotFoundError: No module named 'x'
ERROR tests/b/test_three.py - ModuleNotFoundError: No module named 'x'
============= 2 failed, 5731 passed, 2 errors in 312.20s (0:05:12) =============
"""


def test_each_failed_test_is_named_once() -> None:
    """Without its reason; a module that could not be read as well."""
    run = read_run(312.2, SUMMARY, 1)
    assert run.passed == 5731
    assert [name.partition("[")[0] for name in run.failed] == [
        "tests/a/test_one.py::test_it",
        "tests/a/test_two.py::test_other",
        "tests/b/test_three.py",
    ]


@pytest.mark.parametrize(
    ("output", "status", "why"),
    [
        ("========== 10 passed in 1s ==========", 3, "exit status 3"),
        ("INTERNALERROR> KeyError", 3, "exit status 3"),
        ("", None, "not at its end after 60 minutes"),
    ],
)
def test_a_run_that_ends_badly_without_a_failed_test_is_not_green(output: str, status: int | None, why: str) -> None:
    """A worker that is gone, or a run that hangs."""
    assert read_run(1.0, output, status).failed == (f"bin/test itself: {why}",)


def test_a_green_run_is_green() -> None:
    """With the number of its tests."""
    run = read_run(290.0, "====== 5733 passed in 290.01s (0:04:50) ======", 0)
    assert (run.passed, run.failed) == (5733, ())


@pytest.mark.parametrize(
    ("runs", "green"),
    [
        ([Run(290.2, 9, ()), Run(301.7, 9, ())], True),
        ([Run(290.2, 9, ()), Run(301.7, 8, ("tests/a.py::test_b",))], False),
        ([Run(290.2, 9, ()), Run(301.7, 8, ())], False),
        ([Run(290.2, 0, ()), Run(301.7, 0, ())], False),
    ],
)
def test_the_seconds_of_each_run_are_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[Run], green: bool
) -> None:
    """As they were printed; the runs are green if none failed a test, or ran fewer than another."""
    results = tmp_path / "suite.txt"
    assert repeat(lambda number: runs[number - 1], len(runs), results, "about it") is green
    told = results.read_text()
    assert told == capsys.readouterr().out
    about, *lines, sums = told.splitlines()
    assert (about, lines[0]) == ("about it", f"run 1: 290 s, {runs[0].passed} passed, 0 failed")
    assert [line for line in lines if line.startswith(" ")] == [f"    {name}" for name in runs[1].failed]
    assert json.loads(sums)["seconds"] == [290, 302]
