"""Rows of the published data sets become tasks; what is missing is said with the command that brings it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.dense import real
from bench.dense.agents.job import Missing
from bench.dense.scorers import score
from bench.dense.tasks import Paper

LINES = (
    "Date: Jan 05, 2023 || User: 10001 || Instance: How many? || Label: numeric value\n"
    "Date: Feb 06, 2023 || User: 10002 || Instance: Where? || Label: location\n"
    "Date: Mar 07, 2023 || User: 10003 || Instance: Spell out BBC. || Label: abbreviation\n"
)
OOLONG = {
    "id": 7, "dataset": "trec_coarse", "context_len": 131_072, "context_window_id": 3, "context_window_text": "text",
    "question": "Which label?", "answer": "['entity']", "answer_type": "ANSWER_TYPE.LABEL",
}  # fmt: skip
PAIRS = OOLONG | {"context_len": 32_768, "context_window_text_with_labels": f"Some words.\n{LINES}"}
CODE = {
    "_id": "c1", "domain": "Code Repository Understanding", "question": "Which?", "choice_A": "a", "choice_B": "b",
    "choice_C": "c", "choice_D": "d", "answer": "C", "context": "code",
}  # fmt: skip
RULER = {"index": 4, "input": "Some text.\nWhat is the special magic number for x-y?", "outputs": ["1234567"]}
HUB_RULER = {"task": "niah_single_2", "context": "Some text.", "question": "What is it?", "answer": ["1234567"]}


def papers(tmp_path: Path, name: str, *rows: dict[str, Any]) -> list[Paper]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(real.papers_of(name, file=file))


def test_oolong_s_tasks_about_one_text_are_one_paper(tmp_path: Path) -> None:
    others = OOLONG | {"dataset": "spam"}, OOLONG | {"context_len": 1_024}
    (paper,) = papers(tmp_path, "oolong", OOLONG, *others, OOLONG | {"id": 8})
    assert [task.kind for task in paper.tasks] == ["7", "8"]
    assert score("Label: entity", paper.tasks[0]) == 1


def test_the_twenty_conditions_are_asked_of_the_first_text_by_its_labels(tmp_path: Path) -> None:
    (paper,) = papers(tmp_path, "pairs", PAIRS, PAIRS | {"context_window_id": 4})
    assert len(paper.tasks) == 20
    assert paper.tasks[0].gold == "(10001, 10002)"
    assert "|| Label" not in paper.documents["context.txt"]


def test_a_text_without_labelled_lines_is_no_text_without_pairs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 7 has no line of the form"):
        papers(tmp_path, "pairs", PAIRS | {"context_window_text_with_labels": "otherwise"})


def test_longbench_s_code_questions_come_with_their_choices(tmp_path: Path) -> None:
    (paper,) = papers(tmp_path, "longbench", CODE, CODE | {"domain": "Single-Document QA"})
    assert "(C) c" in paper.tasks[0].question
    assert score("The correct answer is (C)", paper.tasks[0]) == 1


@pytest.mark.parametrize("row", [RULER, HUB_RULER], ids=["its own", "the hub's"])
def test_ruler_s_needles_are_read_in_both_of_their_forms(tmp_path: Path, row: dict[str, Any]) -> None:
    (paper,) = papers(tmp_path, "ruler", row, HUB_RULER | {"task": "vt"})
    assert paper.documents == {"context.txt": "Some text."}
    assert paper.tasks[0].question.startswith("What is")
    assert score("it is 1234567", paper.tasks[0]) == 1


def test_without_the_package_that_fetches_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Missing, match=r"pip install datasets .*--file"):
        next(real.papers_of("oolong"))
