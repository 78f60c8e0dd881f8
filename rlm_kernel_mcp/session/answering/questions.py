"""A question of a session's code and what becomes of it, as plain data: between the channel and who answers.

Is: frozen dataclasses, and a tuple of what comes by the thousand. Is not: a kernel's frame
(`kernel/untrusted/question_frames.py` reads those), nor a way to an answer. Texts of a question are as the kernel gave
them; its schema is a text that nothing in the host ever runs. Above: `session/asking/`. Below: `questions_wire.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from rlm_kernel_mcp.questions_wire import Kind
from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation, ToolCall

Source = Literal["mcp", "console"]
Look = Callable[[str], Awaitable[str | None]]
"""Says what is wrong with an answer, if anything is."""


class Coming(NamedTuple):
    """A text that is too long for a question, and comes when it is asked for."""

    chars: int
    """As the kernel says."""
    send: Callable[[int], Awaitable[None]]
    """Has the kernel write it into the end of a pipe that it is given, and that is closed here. Raises: KernelDied."""


class AtOnce(Protocol):
    """Sends the answer to a call to the kernel from the thread that has it (`session/asking/sending.py`)."""

    @property
    def is_sent(self) -> bool:
        """Whether the kernel has it. Once nobody waits for it any more that does not change."""

    def __call__(self, given: Given) -> bool:
        """Send it; false: that is left to the loop, which is to be told of the answer in any case."""


class Question(NamedTuple):
    """One question, within the bounds of the channel. A tuple is made in a quarter of a frozen dataclass's time."""

    number: int
    """From 1 on, never twice in one server's session."""
    prompt: str
    text: str | None
    """The data that the prompt is about; None: the prompt is all."""
    step_index: int
    """0 for a console's cell."""
    source: Source = "mcp"
    batch: int = 0
    """The kernel's number of the call that asks it: those that are asked together have one."""
    schema: str | None = None
    """JSON of a JSON Schema, with sorted keys and without spaces; the answer's text is JSON then."""
    model: str | None = None
    fresh: bool = False
    """No answer of the cache is wanted."""
    repair: str | None = None
    """It is asked once more, because the answer before did not have the schema: what the kernel's validator said."""
    kind: Kind | Literal["turn"] = "llm"
    """What is asked; a model, unless it says otherwise."""
    of: int = 1
    """How many of its kind its call asks, as the kernel says."""
    depth: int = 1
    """How deep below a session without a parent it is answered."""
    parent: str | None = None
    """The session whose question the one that asks was opened for."""
    look: Look | None = None
    """Asks the kernel what is wrong with a child's final answer, where that is to have a schema."""
    at_once: AtOnce | None = None
    """Of a call of a function."""
    coming: Coming | None = None
    """The text, where it is not here yet; for a child session alone."""
    conversation: Conversation | None = None
    """Of a turn of whoever works in a child session: no kernel asks that."""

    @property
    def text_chars(self) -> int | None:
        """Of the text, if it has one."""
        if self.coming is not None:
            return self.coming.chars
        return None if self.text is None else len(self.text)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: its text, which is JSON where a schema was asked for. The kernel looks whether it has the schema."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    """Of the tools of a conversation."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No answer, and why: `code` is one of `questions_wire.Code`."""

    code: str
    message: str


Given = Answered | Failed
Give = Callable[[Given], None]


class Sketch(NamedTuple):
    """A question that is only thought of: enough to look it up in the cache, and to estimate it."""

    digest: str
    """`questions_wire.digest_of` its prompt and text."""
    utf8_bytes: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a batch would take. None: not known."""

    calls: int
    """Without duplicates and those in the cache."""
    tokens_expected: int
    tokens_most: int
    seconds: float | None = None
    usd: float | None = None
    refusal: Failed | None = None
    """Why the batch may not be asked; None where it fits what is left."""


@dataclass(frozen=True, slots=True)
class QuestionsLeft:
    """What is left of the sub-calls' limits; None: not known, or no limit."""

    subcalls: int
    tokens: int
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What has become of the questions of one step; the part of its report that whoever answers knows."""

    asked: int = 0
    answered: int = 0
    """By the backend; beside these `cached` and `duplicate` ones have answers too."""
    cached: int = 0
    duplicate: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    """By code."""
    tokens_in: int = 0
    tokens_out: int = 0
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers a session, for `data.subcalls` of `rlm_init_context`."""

    backend: str
    model: str | None
    models: tuple[str, ...]
    """Those that code may name."""
    where: str
    """Host name of the endpoint; never a path or a key."""
    parallel: int
    depth: int
    max_subcalls: int
    subcall_tokens_limit: int
    how: str
    """One line."""
    wait_limit_ms: int | None = None
    """How long a step may wait for its answers; None: as long as its session's limits say."""
