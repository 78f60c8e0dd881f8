"""The scorers say what those of the benchmarks say."""

from __future__ import annotations

import pytest

from bench.dense.scorers import oolong_answer, pairs_of, score
from bench.dense.tasks import Task

NUMBER, LABEL, DATE, COMPARED, USER = "NUMERIC", "LABEL", "DATE", "COMPARISON", "USER"


@pytest.mark.parametrize(
    ("output", "gold", "answer_type", "expected"),
    [
        ("Label: entity", "['entity']", LABEL, 1.0),
        ("I counted them.\nLabel: **entity**", "['entity']", LABEL, 1.0),
        ("Label: [entity]", "['entity']", LABEL, 1.0),
        ("Label: Entity", "['entity']", LABEL, 0.0),
        ("entity", "['entity']", LABEL, 1.0),
        ("the most common one must be entity", "['entity']", LABEL, 1.0),
        ("Label: description and abstract concept", "['description and abstract concept']", LABEL, 1.0),
        ("Answer: 12", "[12]", NUMBER, 1.0),
        ("Answer: 14", "[12]", NUMBER, 0.75**2),
        ("Answer: twelve", "[12]", NUMBER, 0.0),
        ("Answer: 14", "['14']", LABEL, 1.0),
        ("Answer: 14", "[12]", USER, 0.0),
        ("Date: 01/05/2023", "[datetime.date(2023, 1, 5)]", DATE, 1.0),
        ("Date: January 5, 2023", "[datetime.date(2023, 1, 5)]", DATE, 1.0),
        ("Date: 01/06/2023", "[datetime.date(2023, 1, 5)]", DATE, 0.0),
        ("Date: some day", "[datetime.date(2023, 1, 5)]", DATE, 0.0),
        ("Answer: entity is more common than location", "['more common than']", COMPARED, 1.0),
        ("Answer: entity is less common than location", "['more common than']", COMPARED, 0.0),
        ("Answer: more common than", "['more common than']", COMPARED, 1.0),
        ("Answer: entity is of the same frequency as location", "['same frequency as']", COMPARED, 1.0),
        ("", "['entity']", LABEL, 0.0),
        (" " * 30, "['entity']", LABEL, 0.0),
    ],
)
def test_oolong_takes_what_stands_behind_the_last_colon(
    output: str, gold: str, answer_type: str, expected: float
) -> None:
    task = Task("x", "?", gold, "oolong", f"ANSWER_TYPE.{answer_type}")
    assert score(output, task) == expected


def test_a_long_answer_without_a_comparison_is_taken_as_it_is() -> None:
    assert oolong_answer("Answer: something that is longer than that") == "something that is longer than that"


@pytest.mark.parametrize(
    ("output", "gold", "expected"),
    [
        ("(1, 2)\n(3, 4)", "(1, 2)\n(3, 4)", 1.0),
        ("(2, 1)\n(1, 2)", "(1, 2)", 1.0),
        ("(1, 2)", "(1, 2)\n(3, 4)", 2 / 3),
        ("(1, 2)\n(5, 6)", "(1, 2)\n(3, 4)", 0.5),
        ("", "(1, 2)", 0.0),
        ("none", "", 1.0),
        ("(1, 2)", "", 0.0),
    ],
)
def test_pairs_are_a_set_and_their_score_is_f1(output: str, gold: str, expected: float) -> None:
    assert score(output, Task("x", "?", gold, "pairs")) == pytest.approx(expected)


def test_a_pair_is_read_in_either_order_and_with_or_without_its_brackets() -> None:
    assert pairs_of("(10, 2) and 3,4") == {(2, 10), (3, 4)}


def test_ruler_scores_the_share_of_the_values_that_are_named() -> None:
    task = Task("x", "?", "123\nAbc", "ruler")
    assert score("it is abc", task) == 0.5
    assert score("ABC and 123", task) == 1.0


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("The correct answer is (B).", 1.0),
        ("The correct answer is **B**", 1.0),
        ("The correct answer is A, no: The correct answer is (B)", 1.0),
        ("The correct answer is (C)", 0.0),
        ("B", 0.0),
    ],
)
def test_longbench_reads_a_letter_from_its_own_sentence(output: str, expected: float) -> None:
    assert score(output, Task("x", "?", "B", "longbench")) == expected


def test_what_is_exact_is_so_but_for_spaces_quotes_and_case() -> None:
    task = Task("x", "?", "Kalomir", "exact")
    assert score("Answer: 'kalomir'.", task) == 1.0
    assert score("Answer: Kalomira", task) == 0.0
