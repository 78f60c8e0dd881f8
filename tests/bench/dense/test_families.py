"""Seeded texts are what they say, and their answers are right."""

from __future__ import annotations

import ast
import random
from datetime import date

import pytest

from bench.dense.families import code_base, oolong, pairs
from bench.dense.families.wording import LABELS, labels_of, line_of
from bench.dense.program import FAMILIES, answer
from bench.dense.scorers import score
from bench.dense.tasks import CHARS_A_TOKEN

TOKENS = 1 << 13


@pytest.mark.parametrize("name", FAMILIES)
def test_a_seed_gives_one_text_of_about_the_length_and_another_seed_another(name: str) -> None:
    first, again, other = (FAMILIES[name].paper(TOKENS, seed) for seed in (1, 1, 2))
    assert first == again
    assert first.documents != other.documents
    assert first.chars == pytest.approx(TOKENS * CHARS_A_TOKEN, rel=0.15)
    assert len({task.kind for task in first.tasks}) == len(first.tasks)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_exact_answer_has_the_full_score_and_an_empty_one_has_none(name: str) -> None:
    for task in FAMILIES[name].paper(TOKENS, 1).tasks:
        if task.scorer != "oolong" and task.gold:  # OOLONG's are lists, as its data set has them
            assert score(task.gold, task) == 1
            assert score("", task) == 0


def test_a_line_has_one_label_and_no_word_tells_it() -> None:
    rng = random.Random(1)
    for label in LABELS:
        lines = [line_of(rng, label) for _ in range(300)]
        assert all(list(labels_of(line)) == [label] for line in lines)
        others = {
            word for other in LABELS if other != label for _ in range(300) for word in line_of(rng, other).split()
        }
        common = set.intersection(*(set(line.split()) for line in lines))
        assert not common - others


def test_oolong_asks_in_all_six_of_its_ways() -> None:
    tasks = oolong.paper(TOKENS, 1).tasks
    assert len(tasks) == 6
    types = {task.answer_type.removeprefix("ANSWER_TYPE.") for task in tasks}
    assert types == {"LABEL", "NUMERIC", "COMPARISON", "USER", "DATE"}


E_, A, H, N, L = "entity", "abbreviation", "human being", "numeric value", "location"
EARLY, LATE = date(2023, 1, 1), date(2023, 6, 1)


@pytest.mark.parametrize(
    ("number", "lines_of", "expected"),
    [
        (1, {1: [(N, EARLY)], 2: [(L, EARLY)], 3: [(A, EARLY)]}, [(1, 2)]),
        (4, {1: [(H, LATE)], 2: [(L, EARLY)], 3: [(H, EARLY), (L, LATE)]}, [(1, 2)]),
        (5, {1: [(E_, EARLY)], 2: [(N, LATE)], 3: [(E_, LATE)]}, [(1, 2)]),
        (11, {1: [(E_, EARLY), (A, EARLY)], 2: [(E_, EARLY)], 3: [(E_, EARLY)] * 2}, [(1, 2)]),
        (12, {1: [(N, EARLY)] * 2, 2: [(L, EARLY), (H, EARLY)], 3: [(N, EARLY)]}, [(1, 2)]),
        (19, {1: [(L, EARLY), (L, LATE), (E_, EARLY)], 2: [(A, EARLY)], 3: [(L, EARLY)]}, []),
    ],
)
def test_a_condition_means_what_it_says(
    number: int, lines_of: dict[int, list[tuple[str, date]]], expected: list[tuple[int, int]]
) -> None:
    assert list(pairs.pairs_with(pairs.CONDITIONS[number - 1], lines_of)) == expected


def test_each_of_the_twenty_conditions_is_read_whole() -> None:
    """Every number and every label in its words is in what is asked of the two users."""
    for condition in pairs.CONDITIONS:
        one, other = pairs.sides_of(condition)
        sides = [one] if one == other else [one, other]
        read = [label for side in sides for label in (*side.either, *(w for w, _, _ in side.when))]
        read += [label for side in sides for label, _ in (*side.least, *side.exactly)]
        named = sum(condition.count(label) for label in LABELS)
        assert len(read) == named, condition
    assert len(pairs.CONDITIONS) == 20


def test_a_generator_is_one_by_its_own_yield() -> None:
    text = "def a():\n    yield 1\n"
    inner = "def b():\n    def c():\n        yield 1\n    return lambda: (yield)\n"
    method = "    async def d(self):\n        '''text\nthat is not indented'''\n        yield 1\n"
    asked = code_base.CUT.join([text, inner, method])
    assert answer(code_base.PROMPT, asked) == "[true, false, true]"
    (function,) = ast.parse(inner).body
    assert not code_base.is_generator(function)


def test_what_the_script_was_not_written_for_is_no_question_of_it() -> None:
    with pytest.raises(RuntimeError, match="nobody has written down"):
        answer("What is the meaning of life?", "")
