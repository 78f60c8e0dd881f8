"""What a kernel that runs a notebook again is told of it: its cells, and the answers that its code was given.

Is: types, and the two digests that both sides make: of a cell's source, and of a question. Is not: a check: the file
is anybody's, so the host makes one of what it reads (`notebook/running/file.py`); what goes to the kernel stays behind
its walls, whatever it says. Above: `notebook/`, `in_kernel/notebook/`, `in_kernel/asking/recorded.py`. Below: the
standard library.
"""

# No `from __future__ import annotations`: each key's type would be compiled again, in every start of a kernel.

import hashlib
import json
from typing import Final, Literal, NotRequired, TypedDict

NOTEBOOK: Final = "rlm_notebook_request"
"""The host's request on control, with a file on the descriptor socket: the JSON of a `RecordedNotebook`."""

Role = Literal["sources", "context", "step", "console"]
"""What a cell is: the first one, the coming of a further context, a step of the agent, a cell of a person."""


class RecordedCell(TypedDict):
    """One code cell, in the order of the notebook."""

    source: str
    """`source_digest` of it."""
    role: Role
    step: NotRequired[int]
    """Of a step: its number in the session."""
    context: NotRequired[str]
    """Of a context: its name."""
    problem: NotRequired[str]
    """What is wrong with the sources, in whole sentences: the cell fails with it."""
    ended: NotRequired[str]
    """Of a step that ended its kernel: what the cell fails with, in place of being run."""
    limit_ms: NotRequired[int]
    """Of a step that was interrupted: after how long it is again."""


class RecordedAnswer(TypedDict):
    """What one question of a step's code was answered. Without `answer` it failed, and `code` says how."""

    step: int
    digest: str
    answer: NotRequired[str]
    code: NotRequired[str]


class RecordedNotebook(TypedDict):
    """All of it."""

    cells: list[RecordedCell]
    answers: list[RecordedAnswer]
    functions: list[str]
    """Names of the functions that its code could call."""
    has_children: bool
    """Whether a question had a session of its own."""


def source_digest(source: str) -> str:
    """A name for a cell's source. Some clients leave line ends and spaces at its end out."""
    return hashlib.sha256(source.replace("\r\n", "\n").rstrip().encode("utf-8", "surrogatepass")).hexdigest()


def question_digest(kind: str, prompt: str, text: str | None) -> str:
    """A name for a question. Arguments of a function are the same in whatever order they were given."""
    said = _in_order(text) if kind == "function" and text is not None else text
    return hashlib.sha256(json.dumps([kind, prompt, said]).encode()).hexdigest()


def _in_order(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except (ValueError, RecursionError):
        return arguments
