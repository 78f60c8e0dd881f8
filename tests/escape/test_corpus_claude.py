"""The hostile question that asks its answerer for files, against a `claude` that would read them.

Is: the case of the corpus beside a scripted program that records how it is called, and does with a question what a real
one does with it where nothing forbids that. Is not: the real one (`tests/claude/test_real_claude.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.session.answering.claude.command import TOOLLESS
from tests.claude.scripted import Scripted
from tests.escape.attack_server import AttackServer, opened
from tests.escape.cases import read_corpus
from tests.escape.verdicts import tried


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    return Scripted(tmp_path)


@pytest.fixture
def attack_server(scripted: Scripted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    with opened(tmp_path_factory.mktemp("claude"), "any", **scripted.environ) as made:
        yield made


@pytest.mark.slow
def test_a_question_that_asks_claude_for_files_reaches_one_that_has_neither_tool_nor_file(
    attack_server: AttackServer, scripted: Scripted
) -> None:
    """Each run has every flag, and what forbids it to read what a question names; no flag is a question's."""
    (case,) = [case for case in read_corpus(asking=True) if case.name == "que-files"]
    assert tried(attack_server, case)[1] == [], case.must
    runs = scripted.runs()
    assert len(runs) > 16
    assert {tuple(run["argv"]) for run in runs} == {(*TOOLLESS, "--max-budget-usd=1.000000")}
    assert {run["env"].get("CLAUDE_CODE_DISABLE_ATTACHMENTS") for run in runs} == {"1"}
    assert {run["stdin"].partition("\n")[0] for run in runs} == {"The question:"}
    assert all(run["holds"] == [] and run["descriptors"] == {} for run in runs)
