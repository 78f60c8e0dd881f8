"""The benchmark works, part by part. What it measures is no test's business: a figure depends on the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.__main__ import PARTS
from tests.parts import ROOT


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_the_benchmark_gives_its_rows(name: str) -> None:
    """Once each and small, as a person would run it by name."""
    argv = [sys.executable, "-m", "bench", "--smoke", name]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    _, _, table = done.stdout.partition("\nwhat ")
    assert len(table.splitlines()) > 2, done.stdout


def test_a_part_that_is_not_there_is_named() -> None:
    """With the list of those that are."""
    argv = [sys.executable, "-m", "bench", "step", "nothing-of-the-kind"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    assert "nothing-of-the-kind" in done.stderr
    assert "step-large" in done.stderr
