"""Questions about all pairs of users, whose answers grow with the square of the users: OOLONG-Pairs.

Is: the twenty conditions of the paper on RLMs (arXiv 2512.24601, appendix E.1; CC BY 4.0), their meaning, the pairs
that have it among users whose lines have labels, and the text that `oolong.py` makes. Is not: a parser of English: a
condition is read by the few forms that they have.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import combinations
from typing import NamedTuple

from bench.dense.families import oolong
from bench.dense.families.wording import LABELS
from bench.dense.tasks import CHARS_A_TOKEN, Family, Paper, Task

BEGINS = "In the above data, list all pairs of user IDs (no duplicate pairs, list lower ID first) "
ENDS = (
    " Each of the questions can be labelled as one of the labels (the data does not provide the labels, you need to "
    "figure out the label from the semantics of the question): description and abstract concept, entity, human being, "
    "numeric value, location, abbreviation. In your answer, list all pairs in the format (user_id_1, user_id_2), "
    "separated by newlines."
)
CONDITIONS = (
    "where both users have at least one instance with a numeric value or location.",
    "where both users have at least one instance with an entity or human being.",
    "where both users have at least one instance with a description and abstract concept or abbreviation.",
    (
        "where both users have at least one instance with a human being or location, and all instances that "
        "are a human being for both users must be after January 6, 2023."
    ),
    (
        "where both users have at least one instance with an entity or numeric value, and all instances that "
        "are an entity for both users must be before March 15, 2023."
    ),
    "where both users have at least one instance with a location or abbreviation.",
    (
        "where both users have at least one instance with a description and abstract concept or numeric "
        "value, and all instances that are a numeric value for both users must be after February 1, 2023."
    ),
    "where both users have at least one instance with a human being or description and abstract concept.",
    (
        "where both users have at least one instance with an entity or location, and all instances that are a"
        " location for both users must be after April 10, 2023."
    ),
    (
        "where both users have at least one instance with a numeric value or abbreviation, and all instances "
        "that are an abbreviation for both users must be before May 20, 2023."
    ),
    (
        "such that one user has at least one instance with entity and one with abbreviation, and the other "
        "user has exactly one instance with entity."
    ),
    (
        "such that one user has at least two instances with numeric value, and the other user has at least "
        "one instance with location and at least one instance with human being."
    ),
    (
        "such that one user has exactly one instance with description and abstract concept, and the other "
        "user has at least one instance with abbreviation and at least one instance with entity."
    ),
    (
        "such that one user has at least one instance with human being and at least one instance with numeric"
        " value, and the other user has exactly two instances with location."
    ),
    (
        "such that one user has at least one instance with entity, at least one instance with location, and "
        "at least one instance with abbreviation, and the other user has exactly one instance with numeric "
        "value."
    ),
    (
        "such that one user has at least one instance with description and abstract concept and at least one "
        "instance with human being, and the other user has at least two instances with entity and exactly one"
        " instance with abbreviation."
    ),
    (
        "such that one user has exactly one instance with numeric value, and the other user has at least one "
        "instance with location and at least one instance with description and abstract concept."
    ),
    (
        "such that one user has at least one instance with abbreviation and exactly one instance with human "
        "being, and the other user has at least one instance with entity and at least one instance with "
        "numeric value."
    ),
    (
        "such that one user has at least two instances with location and at least one instance with entity, "
        "and the other user has exactly one instance with description and abstract concept and exactly one "
        "instance with abbreviation."
    ),
    (
        "such that one user has at least one instance with numeric value and at least one instance with human"
        " being, and the other user has at least one instance with location, at least one instance with "
        "entity, and exactly one instance with abbreviation."
    ),
)
_LABEL = f"({'|'.join(LABELS)})"
_EITHER = re.compile(rf"at least one instance with an? {_LABEL} or {_LABEL}")
_WHEN = re.compile(rf"all instances that are an? {_LABEL} for both users must be (after|before) (\w+ \d+, \d+)")
_HAS = re.compile(rf"(?:(at least|exactly) )?(one|two)(?: instances?)? with {_LABEL}")
NUMBERS = {"one": 1, "two": 2}
ASKED_ABOUT = 3
"""Conditions of a seeded paper."""
PROGRAM = (
    oolong.LABELLED
    + """
lines_of = defaultdict(list)
for (day, user, _), label in zip(rows, labels):
    lines_of[int(user)].append((label, datetime.strptime(day, "%b %d, %Y").strftime("%Y-%m-%d")))

def has(user, side):
    counts = Counter(label for label, _ in lines_of[user])
    if side["either"] and not any(counts[label] for label in side["either"]):
        return False
    if not all(counts[label] >= least for label, least in side["least"]):
        return False
    if not all(counts[label] == number for label, number in side["exactly"]):
        return False
    return all(day > bound if order == "after" else day < bound
               for wanted, order, bound in side["when"] for label, day in lines_of[user] if label == wanted)

answers = {}
for kind, one, other in __SIDES__:
    ones, others = ({user for user in lines_of if has(user, side)} for side in (one, other))
    found = {(min(x, y), max(x, y)) for x in ones for y in others if x != y}
    answers[kind] = "\\n".join(f"({x}, {y})" for x, y in sorted(found))
len(rows), len(blocks), len(lines_of)
"""
)


class Side(NamedTuple):
    """What one of the two users has."""

    either: tuple[str, ...] = ()
    least: tuple[tuple[str, int], ...] = ()
    exactly: tuple[tuple[str, int], ...] = ()
    when: tuple[tuple[str, str, str], ...] = ()
    """All lines with a label are `after` or `before` a day, `YYYY-MM-DD`."""

    def holds(self, lines: Sequence[tuple[str, date]]) -> bool:
        """Of a user with these lines: label and day."""
        counts = Counter(label for label, _ in lines)
        return (
            (not self.either or not counts.keys().isdisjoint(self.either))
            and all(counts[label] >= number for label, number in self.least)
            and all(counts[label] == number for label, number in self.exactly)
            and all(self._is_in_time(label, day) for label, day in lines)
        )

    def _is_in_time(self, label: str, day: date) -> bool:
        bounds = [(order, date.fromisoformat(bound)) for wanted, order, bound in self.when if wanted == label]
        return all(day > bound if order == "after" else day < bound for order, bound in bounds)


def sides_of(condition: str) -> tuple[Side, Side]:
    """What a condition asks of one user and of the other; the same of both where it says `both`."""
    if either := _EITHER.search(condition):
        when = tuple((label, order, _iso(day)) for label, order, day in _WHEN.findall(condition))
        side = Side(either=either.groups(), when=when)
        return side, side
    one, _, other = condition.partition("the other user has ")
    return _side(one), _side(other)


def _side(words: str) -> Side:
    found = [(how or "at least", (label, NUMBERS[number])) for how, number, label in _HAS.findall(words)]
    least = tuple(what for how, what in found if how == "at least")
    return Side(least=least, exactly=tuple(what for how, what in found if how == "exactly"))


def _iso(day: str) -> str:
    return datetime.strptime(day, "%B %d, %Y").date().isoformat()  # noqa: DTZ007 (a day)


def pairs_with(condition: str, lines_of: Mapping[int, Sequence[tuple[str, date]]]) -> Iterable[tuple[int, int]]:
    """The pairs of users that have it, the lower number first."""
    one, other = sides_of(condition)
    ones, others = ({user for user, lines in lines_of.items() if side.holds(lines)} for side in (one, other))
    for low, high in combinations(sorted(lines_of), 2):
        if (low in ones and high in others) or (low in others and high in ones):
            yield low, high


def tasks_about(lines_of: Mapping[int, Sequence[tuple[str, date]]], numbers: Iterable[int]) -> tuple[Task, ...]:
    """The questions of these numbers, from 1, about users with these lines."""
    tasks = []
    for number in numbers:
        condition = CONDITIONS[number - 1]
        gold = "\n".join(f"({low}, {high})" for low, high in pairs_with(condition, lines_of))
        tasks.append(Task(f"condition {number}", BEGINS + condition + ENDS, gold, "pairs"))
    return tuple(tasks)


def paper(tokens: int, seed: int) -> Paper:
    """As OOLONG's text, with a few of the conditions."""
    rng = random.Random(f"pairs {tokens} {seed}")
    rows = oolong.rows_of(rng, tokens * CHARS_A_TOKEN // oolong.CHARS_A_LINE)
    lines_of = defaultdict(list)
    for row in rows:
        lines_of[row.user].append((row.label, row.day))
    tasks = tasks_about(lines_of, sorted(rng.sample(range(1, len(CONDITIONS) + 1), ASKED_ABOUT)))
    sides = [(task.kind, *(side._asdict() for side in sides_of(task.question))) for task in tasks]
    program = oolong.with_values(
        PROGRAM, prompt=oolong.PROMPT, size=oolong.LINES_A_QUESTION, labels=list(LABELS), sides=sides
    )
    name = f"pairs, 2^{tokens.bit_length() - 1}, seed {seed}"
    return Paper("pairs", name, {"context.txt": oolong.text_of(rows)}, tasks, program)


FAMILY = Family("pairs", paper, oolong.answer, tokens_most=1 << 17)
