"""What the live page is told of what is over: an event, with the parts that it is made of.

Is: forms, and the bounds of the texts and lists in them. Is not: how it is made of the record (`record/`). Above:
`stream.py`, `watching/record/shaping.py`. Below: `session/reports.py`.

Every text is raw, as a kernel's code or a client gave it: it is made safe where it is drawn. Ids are texts, since they
are too large for a number of JavaScript; times are UTC, ISO 8601.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired, TypedDict

from rlm_kernel_mcp.session.reports import GuardrailStop

HEAD_CHARS: Final = 6_000
"""Characters of a text that a message has; of a longer one also the last `TAIL_CHARS`."""
TAIL_CHARS: Final = 1_500
NAMES_MAX: Final = 200
"""Of the names that a step bound, or that a restore brought back, or did not."""
CALLS_MAX: Final = 200
"""Questions that the event of a batch lists."""
SOURCES_MAX: Final = 20
"""Displays of one step whose source comes with its event; that of others is asked for."""
RANGES_MAX: Final = 2_000
"""Ranges of one context in one list; of more, neighbours are joined."""

Source = Literal["mcp", "console"]
Kind = Literal["opened", "step", "interrupt", "restore", "stop", "subcalls", "context_added", "refused", "final"]
Range = tuple[int, int]
"""Start and end, in characters of a context, the end excluded."""


class Text(TypedDict):
    """A text, or its two ends: `cut` characters lie between `text` and `tail`."""

    text: str
    tail: NotRequired[str]
    chars: int
    lines: int
    cut: NotRequired[int]


class ErrorText(TypedDict):
    """An exception. `evalue` is its beginning; `traceback` ends with all of it."""

    ename: str
    evalue: str
    traceback: Text


class Variable(TypedDict):
    """A name that a step bound. `size`: its `len`, of a built-in container or text."""

    name: str
    type: str
    size: int | None


class LostName(TypedDict):
    """A name that a restore did not bring back as it was, and why."""

    name: str
    why: str


class ImageRef(TypedDict):
    """What a step displayed. `sha` asks for it; `why`: it is not kept, and there is nothing to ask for.

    `source`: of HTML, Markdown and all else that is no picture, which is shown as the text that it is.
    """

    sha: NotRequired[str]
    data: NotRequired[str]
    """In a page of one file: the picture itself, as an address."""
    mime: str
    bytes: int
    place: int
    why: NotRequired[str]
    source: NotRequired[Text]


class SearchedShare(TypedDict):
    """How much of all contexts the session's functions had gone over by the end of a step: the kernel's word."""

    chars: int
    share: float


class SubCall(TypedDict):
    """A question of the session's code, with the beginnings of its texts.

    `status`: `ok`, `cached`, `duplicate`, or the code of what it failed with. `chars`: of the text it is about.
    """

    id: str
    kind: str
    status: str
    question: str
    chars: int
    ms: int
    tokens: int
    answer: str
    of: NotRequired[str]
    """The beginning of the text that it is about."""
    backend: NotRequired[str]
    child: NotRequired[str]
    """The session that was opened for it."""


class Coverage(TypedDict):
    """Characters of all contexts that were searched and ranked (the kernel's word), delivered and cited."""

    chars: int
    searched: int
    ranked: int
    delivered: int
    delivered_by_text: int | None
    cited: int
    changed: bool


class Used(TypedDict):
    """What is used of a session's limits; where it is called `limits`, the limits themselves."""

    steps: int
    runtime_ms: int
    chars: int
    subcalls: NotRequired[int]
    subcall_tokens: NotRequired[int]


class Event(TypedDict):
    """Something that is over. The same id may come again after a reconnection: it replaces the one before."""

    id: str
    type: Kind
    ts: str
    step: int
    status: str
    source: Source
    summary: str
    ms: int
    used: Used
    cost: int
    """Characters that it has cost the session's budget."""
    code: NotRequired[Text]
    stdout: NotRequired[Text]
    stderr: NotRequired[Text]
    result: NotRequired[Text]
    error: NotRequired[ErrorText]
    changed: NotRequired[list[Variable]]
    more_changed: NotRequired[int]
    note: NotRequired[str]
    images: NotRequired[list[ImageRef]]
    printed: NotRequired[dict[str, int]]
    """Characters that the record has of each of its texts."""
    given: NotRequired[int]
    """Characters of its output that its client was given."""
    delivered: NotRequired[dict[str, list[Range]]]
    """By context, which characters of it the client was given: the host's fact."""
    searched: NotRequired[SearchedShare]
    functions: NotRequired[dict[str, int]]
    """How often it called each of ours: search 2, cite 1."""
    lost: NotRequired[list[LostName]]
    more_lost: NotRequired[int]
    restored: NotRequired[list[str]]
    more_restored: NotRequired[int]
    rung: NotRequired[str]
    """Of an interrupt: `sigint` or `sigkill`; and `cause` for what."""
    cause: NotRequired[str]
    limit: NotRequired[GuardrailStop]
    """Of a stop, and of a call that was refused for it."""
    error_code: NotRequired[str]
    """Of a refused call; `note` is what it was answered."""
    calls: NotRequired[list[SubCall]]
    more: NotRequired[int]
    """Questions that are not listed."""
    tokens: NotRequired[int]
    answer: NotRequired[Text]
    reason: NotRequired[str]
    """Of a final answer: `completed`, or which limit had stopped the session."""
    citations: NotRequired[list[dict[str, Any]]]
    """Rows of the contract (`Citation.row`), and where it is known where they lie in a context: `context`, `start`,
    `end` in its characters."""
    more_citations: NotRequired[int]
    coverage: NotRequired[Coverage]
