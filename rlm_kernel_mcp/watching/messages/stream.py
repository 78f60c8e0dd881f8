"""What the stream of a session tells the live page: one JSON object a message.

Is: the form of each message. Is not: an event in it (`events.py`), an answer beside the stream (`answers.py`), how it
is made (`record/`, `live/`), nor how it travels (`web/`). Above: those three. Below: `events.py`, `session/reports.py`.

A page passes over types and fields that it does not know. Only messages of what is over have an id in the stream; who
comes back after one is told everything else anew.
"""

from __future__ import annotations

from typing import Final, Literal, NotRequired, TypedDict

from rlm_kernel_mcp.session.reports import SessionStatus
from rlm_kernel_mcp.watching.messages.events import Event, Source, Used

EVENTS_MAX: Final = 500
"""Events in one message; fewer where they are long."""
STRETCHES_MAX: Final = 64
BINS_MAX: Final = 1_024
OUTPUT_BYTES: Final = 32 << 10
OUTPUT_BYTES_A_SECOND: Final = 256 << 10
"""Of output as JSON, in one message and in all of a second: what is more is counted as skipped."""
JOINED_S: Final = 0.1
"""How long output is joined before it is sent."""


class Stretch(TypedDict):
    """A part of a context that has a name: a document, a folder, or several that are too small to be named."""

    name: str
    start: int
    end: int
    documents: int


class ContextHead(TypedDict):
    """A context. One that is not there yet, or could not be loaded, has no sizes."""

    name: str
    state: Literal["ready", "loading", "failed"]
    chars: int
    lines: int
    bytes: int
    documents: int
    held: Literal["memory", "mapped", "spooled"]
    stretches: list[Stretch]


class Head(TypedDict):
    """The first message of a stream, also of one that goes on after an id."""

    type: Literal["head"]
    id: str
    title: str | None
    status: SessionStatus
    client: str | None
    opened: str
    limits: Used
    used: Used
    walls: list[str]
    """Those that hold."""
    contexts: list[ContextHead]
    parent: str | None
    children: list[str]
    """The first sessions that were opened for its questions."""
    steps: int
    """How many there are by now."""


class State(TypedDict):
    """How the session stands, and by what it is watched; told again where anything of it changes."""

    type: Literal["state"]
    status: SessionStatus
    live: bool
    """Whether a host tells what a running step prints; else `words` says why not, and steps come as recorded."""
    words: str
    waits: int
    """For how many answers its step waits."""


class Begin(TypedDict):
    """A step runs. It may be told again, with what it has printed by then: it replaces what was known of it."""

    type: Literal["begin"]
    id: str
    """Of the event that it will be."""
    step: int
    source: Source
    code: str
    code_chars: int
    ts: str
    elapsed_ms: int
    so_far: str


class Output(TypedDict):
    """What a running step has printed since. `skipped`: so many characters before `text` came too fast to be sent."""

    type: Literal["output"]
    step: int
    field: Literal["stdout", "stderr"]
    text: str
    skipped: NotRequired[int]


class Events(TypedDict):
    """Several that are over, the first one first. `more`: others follow at once."""

    type: Literal["events"]
    events: list[Event]
    more: bool


class EventMessage(TypedDict):
    """One that is over, as it comes."""

    type: Literal["event"]
    event: Event
    status: SessionStatus


class MapMessage(TypedDict):
    """How often each part of a context was searched: `BINS_MAX` bytes of 0 to 255 passes, base64. None: not tracked."""

    type: Literal["map"]
    context: str
    searched: str | None


class End(TypedDict):
    """Nothing more comes."""

    type: Literal["end"]
    status: SessionStatus


Message = Head | State | Begin | Output | Events | EventMessage | MapMessage | End
