"""Lines of six labels, as OOLONG's questions of TREC have them, and the labels that they have.

Is: templates and words of ours, and a rule that knows which template a line is of. Is not: a model: the rule stands in
its place wherever the tasks are answered by a script. A label is in what a line means: no word of it tells it from
the lines of the others.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping

TEMPLATES: Mapping[str, tuple[str, ...]] = {
    "numeric value": (
        "How many {things} does it take to {act}?",
        "What was the yearly sum spent on {things}?",
        "In which year did they first {act}?",
        "At what speed do {things} travel?",
        "What is the distance between two {things}?",
    ),
    "location": (
        "Where can one find the oldest {things}?",
        "Which city became known for its {things}?",
        "What country exports the most {things}?",
        "On which river was the mill for {things} built?",
        "In what region do people still {act}?",
    ),
    "human being": (
        "Who first learned to {act}?",
        "Which inventor made {things} popular?",
        "What pianist refused to {act}?",
        "Name the captain whose crew carried {things}.",
        "What was the name of the girl who sold {things}?",
    ),
    "description and abstract concept": (
        "Why do {things} change their colour?",
        "How does one {act} without help?",
        "What is meant by the rule of {things}?",
        "What happens after people {act}?",
        "What is the difference between {things} and their like?",
    ),
    "entity": (
        "What instrument is made from {things}?",
        "Which animal likes to eat {things}?",
        "What colour are most {things}?",
        "What game is played with {things}?",
        "What disease is cured by those who {act}?",
    ),
    "abbreviation": (
        "What does the short form {letters} stand for?",
        "What is the usual short form of the guild of {things}?",
        "Spell out {letters}.",
        "Which initials mark a box of {things}?",
        "What are the letters for people who {act}?",
    ),
}
LABELS = tuple(TEMPLATES)
THINGS = (
    "copper kettles", "river stones", "paper kites", "winter apples", "glass beads", "sail ropes", "clay pipes",
    "rye loaves", "pine chairs", "wool caps", "tin whistles", "salt barrels",
)  # fmt: skip
ACTS = (
    "tie a reef knot", "cross the strait", "bake without yeast", "count the tides", "mend a net", "carve a spoon",
    "dye linen", "read the stars",
)  # fmt: skip
LETTERS = "BCDFGKLMNPRT"
_ANY = {"things": "|".join(THINGS), "act": "|".join(ACTS), "letters": f"[{LETTERS}]{{3}}"}


def line_of(rng: random.Random, label: str) -> str:
    """A line with this label."""
    template = rng.choice(TEMPLATES[label])
    letters = "".join(rng.choices(LETTERS, k=3))
    return template.format(things=rng.choice(THINGS), act=rng.choice(ACTS), letters=letters)


def labels_of(line: str) -> Iterator[str]:
    """The labels that a line may have: one, if it is of ours."""
    for label, pattern in _PATTERNS.items():
        if pattern.fullmatch(line):
            yield label


def _pattern(templates: tuple[str, ...]) -> re.Pattern[str]:
    parts = []
    for template in templates:
        whole = re.escape(template)
        for field, any_of in _ANY.items():
            whole = whole.replace(re.escape(f"{{{field}}}"), f"(?:{any_of})")
        parts.append(whole)
    return re.compile("|".join(parts))


_PATTERNS = {label: _pattern(templates) for label, templates in TEMPLATES.items()}
