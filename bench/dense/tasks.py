"""What a task is: a question about some documents, its exact answer, and who scores an output.

Is: plain data, for the seeded families and for the published benchmarks alike. Is not: how tasks are made (`families/`,
`real.py`), scored (`scorers.py`) or given to anybody (`program.py`, `agents/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

CHARS_A_TOKEN = 4
"""No tokenizer is at hand: a length in tokens is this many characters each, and every table says the characters too."""


@dataclass(frozen=True, slots=True)
class Task:
    """One question."""

    kind: str
    """Which of its family's; of a published benchmark, the number or name that it has there."""
    question: str
    gold: str
    """As the scorer takes it."""
    scorer: str
    """A name of `scorers.SCORERS`."""
    answer_type: str = ""
    """As OOLONG names it; other scorers have none."""


@dataclass(frozen=True, slots=True)
class Paper:
    """Documents, and questions about them."""

    family: str
    name: str
    """Says the family, the length and the seed, or which of a published benchmark's it is."""
    documents: Mapping[str, str]
    tasks: tuple[Task, ...]
    program: str = ""
    """Code for a kernel with the documents as its context, which leaves the outputs in `answers`, by kind."""

    @property
    def chars(self) -> int:
        return sum(map(len, self.documents.values()))


@dataclass(frozen=True, slots=True)
class Family:
    """Papers of one sort."""

    name: str
    paper: Callable[[int, int], Paper]
    """From a length in tokens and a seed; the same two give the same paper."""
    answer: Callable[[str, str], str | None]
    """The scripted answerer: from a question's prompt and its text; None: it is no question of this family's."""
    tokens_most: int = 1 << 20
    """A longer text would have an answer that is too long to be of use."""
