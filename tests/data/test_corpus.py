"""What looks for a way out of a kernel, from one into which files of the installation may be mapped executable."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.conftest import WITHOUT_NAMESPACES
from tests.escape.attack_server import opened, unlocked
from tests.escape.cases import SLOW, read_corpus
from tests.escape.verdicts import tried
from tests.parts import data_python

pytestmark = pytest.mark.slow
CATEGORIES = ("allow", "fs-read", "fs-write", "kernel-integrity", "kernel-surface", "process")
CASES = [case for case in read_corpus() if case.category in CATEGORIES and case.name not in SLOW]


@pytest.mark.parametrize("program", [("-m", "rlm_kernel_mcp"), (WITHOUT_NAMESPACES,)], ids=["namespaces", "locks"])
def test_a_hostile_case_reaches_nothing_outside_its_session(tmp_path: Path, program: tuple[str, ...]) -> None:
    """With every module importable, so that the walls hold alone; judged as in `tests/escape/test_corpus_any.py`."""
    (tmp_path / "server").mkdir()
    argv = (str(data_python()), "-I", *program, "serve")
    with opened(tmp_path / "server", "any", argv, RLM_KERNEL="rlm-python-data") as server:
        found = {case.name: against for case in CASES if (against := tried(server, case)[1])}
        threads = unlocked(server)
    assert found == {}
    assert threads == []
