"""Questions that need a label for every line, as OOLONG's: six kinds, answered by counting the labels.

Is: a seeded text, its questions and their answers; the program that a careful driver would run; the scripted answerer's
part. Is not: OOLONG's data, which `real.py` fetches: the form of a line, of a question and of an answer is as there
(arXiv 2511.02817), the words are ours.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from bench.dense.families.wording import LABELS, labels_of, line_of
from bench.dense.tasks import CHARS_A_TOKEN, Family, Paper, Task

FIRST_DAY, DAYS = date(2022, 1, 1), 1_000
CHARS_A_LINE = 88
LINES_A_USER = 20
OF_COMMON_USERS = 0.8
"""Of the lines; a fifth of the users has them."""
LINES_A_QUESTION = 100
PROMPT = (
    "Each line is a question that somebody asked. Give the label of what each asks for, in the order of the lines: "
    f"one of {', '.join(LABELS)}."
)
HEAD = (
    "The following lines are questions that users asked, one a line, with the date and the user. What each asks for "
    f"has one of these labels, which the lines do not say: {', '.join(LABELS)}.\n"
)
LABELLED = """
import json, re
from collections import Counter, defaultdict
from datetime import datetime

FORM = re.compile(r"(?m)^Date: (.+?) \\|\\| User: (\\d+) \\|\\| Instance: (.*)$")
rows = [found.groups() for found in FORM.finditer(context)]
blocks = [rows[at : at + __SIZE__] for at in range(0, len(rows), __SIZE__)]
schema = {"type": "array", "items": {"enum": __LABELS__}}
got = llm_query_batched(__PROMPT__, ["\\n".join(row[2] for row in block) for block in blocks], schema=schema)
failed = [one for one in got if isinstance(one, SubcallError)]
assert not failed, failed[0]
assert [len(one) for one in got] == [len(block) for block in blocks], "a block has not a label for each line"
labels = [label for one in got for label in one]
"""
"""Reads the lines and has them labelled; other programs begin with it too."""
PROGRAM = (
    LABELLED
    + """
a, b, c = __CHOSEN__
counts = Counter(labels)
users, days, months = Counter(), Counter(), defaultdict(Counter)
for (day, user, _), label in zip(rows, labels):
    when = datetime.strptime(day, "%b %d, %Y")
    users[int(user)] += label == c
    days[when] += label == a
    months[when.year, when.month][label] += 1
more = (counts[a] > counts[b]) - (counts[a] < counts[b])
answers = {
    "most frequent": f"Label: {min(counts, key=lambda label: (-counts[label], label))}",
    "least frequent": f"Label: {min(__LABELS__, key=lambda label: (counts[label], label))}",
    "count": f"Answer: {counts[a]}",
    "comparison": f"Answer: {a} is {('same frequency as', 'more common than', 'less common than')[more]} {b}",
    "user": f"User: {min(users, key=lambda user: (-users[user], user))}",
    "date": f"Date: {min(days, key=lambda day: (-days[day], day)):%m/%d/%Y}",
}
len(rows), len(blocks)
"""
)


class Row(NamedTuple):
    """One line, and what it does not say."""

    day: date
    user: int
    text: str
    label: str


def rows_of(rng: random.Random, lines: int) -> list[Row]:
    """Lines in no order, with labels that are of unlike frequency, and users of whom a fifth has most of them."""
    weights = [rng.random() + 0.2 for _ in LABELS]
    users = rng.sample(range(10_000, 100_000), max(8, lines // LINES_A_USER))
    common = users[: max(2, len(users) // 5)]
    rows = []
    for _ in range(lines):
        (label,) = rng.choices(LABELS, weights)
        user = rng.choice(common if rng.random() < OF_COMMON_USERS else users)
        rows.append(Row(FIRST_DAY + timedelta(rng.randrange(DAYS)), user, line_of(rng, label), label))
    return rows


def text_of(rows: Sequence[Row]) -> str:
    """The lines as they are asked about."""
    return HEAD + "".join(f"Date: {row.day:%b %d, %Y} || User: {row.user} || Instance: {row.text}\n" for row in rows)


def paper(tokens: int, seed: int) -> Paper:
    """So many lines as have about that length."""
    return of_lines(tokens * CHARS_A_TOKEN // CHARS_A_LINE, seed, f"oolong, 2^{tokens.bit_length() - 1}, seed {seed}")


def of_lines(lines: int, seed: int, name: str) -> Paper:
    """A paper of so many lines."""
    rng = random.Random(f"oolong {lines} {seed}")
    rows = rows_of(rng, lines)
    chosen = rng.sample(LABELS, 3)
    program = with_values(PROGRAM, prompt=PROMPT, size=LINES_A_QUESTION, labels=list(LABELS), chosen=chosen)
    return Paper("oolong", name, {"context.txt": text_of(rows)}, tuple(_tasks(rows, *chosen)), program)


def _tasks(rows: Sequence[Row], a: str, b: str, c: str) -> list[Task]:
    counts = Counter(dict.fromkeys(LABELS, 0))
    counts.update(row.label for row in rows)
    users = Counter(row.user for row in rows if row.label == c)
    days = Counter(row.day for row in rows if row.label == a)
    most, least = (min(LABELS, key=lambda label: (sign * counts[label], label)) for sign in (-1, 1))
    user = min(users, key=lambda one: (-users[one], one))
    day = min(days, key=lambda one: (-days[one], one))
    than = {True: "more common than", False: "less common than"}
    compared = "same frequency as" if counts[a] == counts[b] else than[counts[a] > counts[b]]
    ties, listed = "If several are, name the first of them", ", ".join(LABELS)
    asked = [
        ("most frequent", (f"Which of the labels is the most common? {ties} in the alphabet. Give your final answer in "
         f"the form 'Label: answer', where answer is one of the labels: {listed}."), most, "LABEL"),
        ("least frequent", (f"Which of the labels is the least common? {ties} in the alphabet. Give your final answer "
         f"in the form 'Label: answer', where answer is one of the labels: {listed}."), least, "LABEL"),
        ("count", f"How many lines have the label '{a}'? Give your final answer in the form 'Answer: number'.",
         counts[a], "NUMERIC"),
        ("comparison", (f"Is the label '{a}' more common, less common, or of the same frequency as the label '{b}'? "
         f"Give your final answer in the form 'Answer: {a} is [X] {b}', where [X] is 'more common than', 'less common "
         "than', or 'same frequency as'."), compared, "COMPARISON"),
        ("user", (f"Which user has the most lines with the label '{c}'? If several have, name the one with the lowest "
         "number. Give your final answer in the form 'User: [X]'."), user, "USER"),
        ("date", (f"On which day does the label '{a}' occur most often? If it does on several, name the first of them. "
         "Give your final answer in the form 'Date: [X]', where [X] has the form MM/DD/YYYY."), day, "DATE"),
    ]  # fmt: skip
    return [
        Task(kind, f"In the above data: {question}", _gold(gold), "oolong", f"ANSWER_TYPE.{answer_type}")
        for kind, question, gold, answer_type in asked
    ]


def _gold(value: object) -> str:
    """As the data set writes it."""
    if isinstance(value, date):
        return f"[datetime.date({value.year}, {value.month}, {value.day})]"
    return repr([value])


def with_values(program: str, **values: object) -> str:
    """A program in which `__NAME__` stands for a value."""
    for name, value in values.items():
        program = program.replace(f"__{name.upper()}__", repr(value))
    return program


def answer(prompt: str, text: str) -> str | None:
    """The labels of some lines, as JSON."""
    if prompt != PROMPT:
        return None
    return json.dumps([label for line in text.splitlines() for label in labels_of(line)])


FAMILY = Family("oolong", paper, answer)
