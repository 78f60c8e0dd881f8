"""Questions as whoever answers them gets them, and what comes back: plain data between `session/` and `server/`.

Is: frozen dataclasses whose fields are the contract's. Texts of items are safe to show, those of answers as they were
given. Is not: who holds which question (`pile.py`). Above: `session/reports.py`, `pages.py`, `desk.py`.
Below: `questions_wire.py`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from rlm_kernel_mcp.questions_wire import Kind

DECLINED_CHARS: Final = 200
"""Of what somebody says in the place of an answer."""
PROGRAM: Final = "program"
"""Names in the trace whoever answers without a connection: the process that has the sessions itself."""


@dataclass(frozen=True)
class AskedItem:
    """One question on a page. `cut`: it is shown in part, and `rlm_get_var` of `question:<id>` has the rest."""

    id: int
    prompt: str
    text: str | None
    schema: str | None
    """JSON of a JSON Schema that the answer's JSON is to have; None too where it has no room on the page."""
    total_chars: int
    """Of prompt and text, as they were asked."""
    cut: bool = False
    kind: Kind = "llm"
    """What is asked: a model, unless it says otherwise. Of a function the prompt is its name, and the text its
    arguments, which are a JSON object."""
    args: dict[str, Any] | None = None
    """The same as a value that is safe to show; None where only their text is shown."""
    child_session: str = ""
    """Of a question of the kind `rlm`: the session that has its text as `context`, and whose final answer is taken as
    the answer. A program has the text here too, unless that is too long for a message."""

    def row(self) -> dict[str, Any]:
        """What the client gets."""
        row: dict[str, Any] = {"id": self.id}
        row |= {} if self.kind == "llm" else {"kind": self.kind}
        if self.kind == "function":
            row |= {"name": self.prompt, "args": self.text if self.args is None else self.args}
        else:
            row |= {"prompt": self.prompt} | ({} if self.text is None else {"text": self.text})
            row |= {} if self.schema is None else {"schema": self.schema}
            row |= {"child_session": self.child_session} if self.child_session else {}
        return row | {"total_chars": self.total_chars} | ({"cut": True} if self.cut else {})

    @cached_property
    def chars(self) -> int:
        """Characters that it takes in an answer."""
        return len(json.dumps(self.row(), ensure_ascii=False, separators=(",", ":"))) + 1


@dataclass(frozen=True, slots=True)
class QuestionPage:
    """`questions` of a step's report."""

    items: tuple[AskedItem, ...]
    waiting: int
    """That have no answer, and that nobody has taken; those on a page of `take = 0` among them."""
    leased: int
    """That somebody has taken, and has some time left to answer; those on a page that was taken among them."""
    delegate: str | None = None
    """What to tell a sub-agent, where there are more than a few."""
    taken_s: float | None = None
    """So many seconds its items are the caller's alone; None: they are everybody's."""

    @property
    def chars(self) -> int:
        """Characters of its items."""
        return sum(item.chars for item in self.items)


@dataclass(frozen=True, slots=True)
class AnswerGiven:
    """An answer to one question, or why there is none. Exactly one of `text` and `error`."""

    id: int
    text: str | None = None
    error: str | None = None
    is_plain: bool = False
    """Whether its text was looked at: JSON that a function gave (`Desk.checked`)."""


async def at_once() -> None:
    """Nobody has to wait for a turn."""


@dataclass(frozen=True, slots=True)
class Handed:
    """What a call of `rlm_answer` brings, and what it wants."""

    answers: tuple[AnswerGiven, ...] = ()
    take: int = 0
    """So many questions are wanted that nobody else has; 0: the next page of all, or the step's end."""
    wait_ms: int = 45_000
    max_output_chars: int | None = 8_000
    """None, of a program: what it is shown is whole and raw."""
    turn: Callable[[], Awaitable[None]] = at_once
    """Is awaited before a page is made, which may be a large one, and whose end the caller sees."""
