"""Thirty questions to three corpora, each answered by the exploring functions and cited, checked a second way.

Here and not in the demo: the demo shows what an agent does; this holds its answers against other programs', on
whatever machine it runs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.mcp.line_client import LineClient
from tests.parts import skip_for_lack_of
from tests.questions import library, mixed, papers
from tests.questions.asking import Asked, Passage, Question

pytestmark = pytest.mark.slow

SHARE: Final = 0.001
"""Of the text that may be delivered."""
NAMES: Final = ("library", "papers", "mixed")


@dataclass(slots=True)
class Played:
    """One corpus, and what came of its questions."""

    names: list[str]
    questions: list[Question]
    asked: Asked
    answers: list[Any] = field(default_factory=list)
    all_changed: dict[str, str] = field(default_factory=dict)
    """Statuses of what failed, where each quote has one character changed and those that are invented are there too."""
    one_changed: list[dict[str, str]] = field(default_factory=list)
    """The same where one of all quotes is changed, by its number."""
    final: dict[str, Any] = field(default_factory=dict)

    @property
    def proofs(self) -> list[Passage]:
        """What is quoted."""
        return [one.proof for one in self.questions if one.proof is not None]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Played]]:
    """All three, each in a session of one server's."""
    if not papers.copyrights():
        skip_for_lack_of("Debian's documentation", "Debian, or a system that is made of it")
    directory = tmp_path_factory.mktemp("questions")
    (directory / "mixed").mkdir()
    (directory / "work").mkdir()
    roots = f"{library.ROOT}:{papers.ROOT}:{directory / 'mixed'}"
    client = LineClient(directory / "work", {"RLM_CONTEXT_ROOTS": roots})
    client.initialize()
    try:
        yield {name: play(name, client, directory / "mixed") for name in NAMES}
    finally:
        client.kill()


def play(name: str, client: LineClient, directory: Path) -> Played:
    """All that is asked of one corpus."""
    paths, exclude = tuple[str, ...](), tuple[str, ...]()
    if name == "library":
        names, paths, exclude = library.names(), library.PATHS, library.EXCLUDE
        root, questions = library.ROOT, library.questions(names)
    elif name == "papers":
        names, paths, exclude = papers.names(), papers.paths(), tuple(papers.exclude())
        root, questions = papers.ROOT, papers.questions(names)
    else:
        questions = mixed.questions(mixed.make(directory))
        names, root, paths = sorted(path.name for path in directory.iterdir()), directory, ("*",)
    made = Played(names, questions, Asked.open(client, [str(root / one) for one in paths], exclude))
    for question in questions:
        made.asked.ask(question)
    made.answers = made.asked.answers()
    refuse(made, random.Random("questions"))
    text = "\n".join(
        f"{one.asked} {json.dumps(one.value)[:200]} {' '.join(f'[c{mark}]' for mark in marks[:3])}"
        for one, marks in zip(questions, made.asked.marks, strict=True)
    )
    made.final = made.asked.call("rlm_finalize", final_text=text, quotes=[quote_of(one) for one in made.proofs])
    return made


def refuse(made: Played, rng: random.Random) -> None:
    """Give what is invented and what has one character changed: all at once anywhere, and each in its document."""
    changed = [changed_in(rng, one) for one in made.proofs]
    made.all_changed = made.asked.refused([*changed, *(one.wrong for one in made.questions if one.wrong is not None)])
    right = [quote_of(one) for one in made.proofs]
    for number, proof in enumerate(made.proofs):
        quotes = [*right[:number], {"text": changed[number], "doc": proof.doc}, *right[number + 1 :]]
        made.one_changed.append(made.asked.refused(quotes))


def changed_in(rng: random.Random, proof: Passage) -> str:
    """The passage with one of its letters or digits another."""
    at = rng.choice([at for at, char in enumerate(proof.text) if char.isalnum()])
    other = [one for one in "0123456789abcdefghijklmnopqrstuvwxyz" if one != proof.text[at].lower()]
    return proof.text[:at] + rng.choice(other) + proof.text[at + 1 :]


def quote_of(proof: Passage) -> dict[str, str]:
    return {"text": proof.text, "doc": proof.doc}


def cited_in(made: Played) -> list[Mapping[str, Any]]:
    """The citations of the answer that was taken."""
    assert made.final["ok"], made.final
    citations: list[Mapping[str, Any]] = made.final["data"]["citations"]
    return citations


@pytest.mark.parametrize("name", NAMES)
def test_the_answers_are_those_that_are_found_without_our_functions(played: dict[str, Played], name: str) -> None:
    """Ten of each corpus, of which three have no answer or one that looks like it; over the same files as find's."""
    made = played[name]
    assert made.asked.context["document_count"] == len(made.names)
    assert (len(made.questions), sum(one.has_no_answer for one in made.questions) >= 3) == (10, True)
    asked = [one.asked for one in made.questions]
    assert dict(zip(asked, made.answers, strict=True)) == {one.asked: one.value for one in made.questions}


@pytest.mark.parametrize("name", NAMES)
def test_every_citation_is_verified_where_the_answer_was_found_a_second_time(
    played: dict[str, Played], name: str
) -> None:
    """One of an answer's marks, and its quote, stand in the line that another program found."""
    made = played[name]
    cited = cited_in(made)
    assert {one["status"] for one in cited} <= {"verified", "whitespace"}
    by_id = {one["id"]: one for one in cited}
    quotes = [one for one in cited if one["kind"] == "quote"]
    for question, marks in zip(made.questions, made.asked.marks, strict=True):
        if question.proof is not None:
            place = question.proof.doc, question.proof.line
            assert place in [(by_id[f"c{one}"]["doc"], by_id[f"c{one}"]["start_line"]) for one in marks[:3]], question
    assert [(one["doc"], one["start_line"]) for one in quotes] == [(one.doc, one.line) for one in made.proofs]


@pytest.mark.parametrize("name", NAMES)
def test_one_character_changed_in_a_quote_refuses_the_answer(played: dict[str, Played], name: str) -> None:
    """Each quote's, by itself among those that are right, and all of them together with what is invented."""
    made = played[name]
    wrong = sum(one.wrong is not None for one in made.questions)
    assert list(made.all_changed) == [f"q{number}" for number in range(1, len(made.proofs) + wrong + 1)]
    assert set(made.all_changed.values()) <= {"near", "missing"}
    assert [list(one) for one in made.one_changed] == [[f"q{number}"] for number in range(1, len(made.proofs) + 1)]


def test_less_than_a_thousandth_of_the_text_is_delivered(played: dict[str, Played]) -> None:
    """By the coverage and by what the replies had; with what the citations show, of all three."""
    chars = shown = 0
    for made in played.values():
        coverage, asked = made.final["data"]["coverage"], made.asked
        assert coverage["chars"] == asked.context["chars"]
        assert coverage["delivered"]["chars"] == asked.output_chars
        assert coverage["delivered"]["per_cent"] < 100 * SHARE
        assert asked.output_chars < SHARE * asked.context["chars"]
        chars += coverage["chars"]
        texts = [one.get(part, "") for one in cited_in(made) for part in ("text", "prefix", "suffix")]
        shown += asked.output_chars + len(json.dumps(made.answers)) + sum(map(len, texts))
    assert shown < SHARE * chars
