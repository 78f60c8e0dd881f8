"""A skipped test is listed with the command that brings what it lacks, and CI does not accept it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

SUITE = """
from tests.parts import skip_for_lack_of

def test_that_needs_a_part():
    skip_for_lack_of("the frobnicator", "bin/setup --frobnicator")
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of one test that lacks its part, under the real conftest."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_part.py").write_text(SUITE)
    return tmp_path


def test_a_skipped_test_is_listed_with_the_command_that_brings_its_part(suite: Path) -> None:
    """The run passes: a person need not have every part."""
    done = run_pytest(suite, forbid="0")
    assert done.returncode == 0
    assert "the frobnicator is missing; this brings it: bin/setup --frobnicator (1 skipped)" in done.stdout
    assert "test_part.py::test_that_needs_a_part" in done.stdout


def test_where_skips_are_forbidden_a_skipped_test_fails(suite: Path) -> None:
    """The failure says what is missing."""
    done = run_pytest(suite, forbid="1")
    assert done.returncode == 1
    assert "1 failed" in done.stdout
    assert "bin/setup --frobnicator" in done.stdout


@pytest.mark.slow
def test_where_skips_are_forbidden_a_module_that_skips_itself_is_an_error(suite: Path) -> None:
    """Skipping while collecting must not be a way around."""
    (suite / "test_part.py").write_text("import pytest\npytest.skip('all of it', allow_module_level=True)\n")
    assert run_pytest(suite, forbid="1").returncode != 0
    assert run_pytest(suite, forbid="0").returncode == 5  # pytest's status for no tests


def run_pytest(suite: Path, forbid: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(suite), str(suite)],
        cwd=suite,
        env={**os.environ, "RLM_FORBID_SKIPS": forbid, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
