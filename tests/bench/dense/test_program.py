"""Fixed programs through the real server: exact, if whoever answers is right; and the scores tell where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bench.dense import program
from bench.dense.families import oolong
from tests.mcp.line_client import LineClient


@pytest.fixture(scope="module")
def client() -> Iterator[LineClient]:
    with program.server() as started:
        yield started


@pytest.mark.parametrize("name", program.FAMILIES)
def test_every_answer_of_a_family_is_exact(client: LineClient, name: str) -> None:
    ran = program.run(client, program.FAMILIES[name].paper(1 << 13, 1))
    assert ran.scores == {task.kind: 1.0 for task in ran.paper.tasks}
    assert ran.asked > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", program.FAMILIES)
def test_every_answer_about_a_longer_text_is_exact(client: LineClient, name: str) -> None:
    """131,072 tokens, as OOLONG's."""
    ran = program.run(client, program.FAMILIES[name].paper(1 << 17, 2))
    assert ran.scores == {task.kind: 1.0 for task in ran.paper.tasks}


def test_an_answerer_that_errs_is_seen_in_the_scores(client: LineClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a full score says something."""

    def wrong(prompt: str, text: str) -> str:
        labels = json.loads(str(oolong.answer(prompt, text)))
        return json.dumps(["entity"] * len(labels))

    monkeypatch.setattr(program, "answer", wrong)
    ran = program.run(client, oolong.paper(1 << 13, 1))
    assert ran.scores["count"] < 1
    assert sum(ran.scores.values()) < 6


def test_a_program_that_fails_says_of_which_text(client: LineClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One label too few is no answer, and is not taken for one."""

    def short(prompt: str, text: str) -> str:
        return json.dumps(json.loads(str(oolong.answer(prompt, text)))[1:])

    monkeypatch.setattr(program, "answer", short)
    with pytest.raises(RuntimeError, match=r"oolong, 2\^13, seed 1: the program ended with error: .*a label for each"):
        program.run(client, oolong.paper(1 << 13, 1))
