"""One sentence in a long text: S-NIAH, as RULER has it.

Is: a seeded haystack of sentences of ours, the needle that is asked for and others like it; a program that finds it
and has it read. Is not: RULER's data, which `real.py` takes: the form of the needle and of the question is as there
(arXiv 2404.06654).
"""

from __future__ import annotations

import random
import re

from bench.dense.families.oolong import with_values
from bench.dense.families.wording import ACTS, THINGS
from bench.dense.tasks import CHARS_A_TOKEN, Family, Paper, Task

NEEDLE = "One of the special magic numbers for {key} is: {value}."
LIKE_IT = 7
"""Needles for other keys."""
FIRST = ("quiet", "amber", "narrow", "hollow", "brisk", "velvet", "rugged", "silver")
SECOND = ("harbour", "meadow", "lantern", "orchard", "bridge", "glacier", "chapel", "valley")
SENTENCES = (
    "The {things} were counted again on the next morning.",
    "Nobody in the village could {act} as well as she did.",
    "It rained for three days, and the {things} were wet.",
    "He had learned to {act} before he could write.",
    "A letter came, but it said nothing of the {things}.",
    "They would rather {act} than talk about the price of {things}.",
)
PROMPT = "What is the special magic number for {key}? Answer with the number alone."
PROGRAM = """
key = __KEY__
lines_with_it = [hit.text for hit in search(key, limit=None)]
sentences = [one for one in re.split(r"(?<=[.]) ", context) if key in one]
assert sentences, f"nothing is said of {key}; search found {len(lines_with_it)}"
answers = {"needle": llm_query(__PROMPT__, " ".join(sentences))}
len(sentences)
"""


def paper(tokens: int, seed: int) -> Paper:
    """A haystack of about that length."""
    rng = random.Random(f"needle {tokens} {seed}")
    keys = rng.sample([f"{first}-{second}" for first in FIRST for second in SECOND], LIKE_IT + 1)
    values = rng.sample(range(1_000_000, 10_000_000), len(keys))
    sentences: list[str] = []
    left = tokens * CHARS_A_TOKEN
    while left > 0:
        sentences.append(rng.choice(SENTENCES).format(things=rng.choice(THINGS), act=rng.choice(ACTS)))
        left -= len(sentences[-1]) + 1
    for key, value in zip(keys, values, strict=True):
        sentences.insert(rng.randint(0, len(sentences)), NEEDLE.format(key=key, value=value))
    key, value = keys[0], values[0]
    question = f"What is the special magic number for {key} mentioned in the provided text?"
    task = Task("needle", question, str(value), "ruler")
    program = "import re\n" + with_values(PROGRAM, key=key, prompt=PROMPT.format(key=key))
    name = f"needle, 2^{tokens.bit_length() - 1}, seed {seed}"
    return Paper("needle", name, {"context.txt": " ".join(sentences)}, (task,), program)


def answer(prompt: str, text: str) -> str | None:
    """The number."""
    asked = re.fullmatch(re.escape(PROMPT).replace(re.escape("{key}"), r"([\w-]+)"), prompt)
    if asked is None:
        return None
    found = re.search(rf"magic numbers for {re.escape(asked[1])} is: (\d+)", text)
    return found[1] if found else "NOT FOUND"


FAMILY = Family("needle", paper, answer)
