"""What the live page is answered beside a session's stream: the list of sessions, and what it asks for piece by piece.

Is: the form of each answer, and its bound. Is not: the stream (`stream.py`), nor how an answer is made (`record/`).
Above: `record/`, `web/`. Below: `events.py`, `stream.py`, `session/reports.py`.
"""

from __future__ import annotations

from typing import Final, Literal, NotRequired, TypedDict

from rlm_kernel_mcp.session.reports import SessionStatus
from rlm_kernel_mcp.watching.messages.events import Range, Used
from rlm_kernel_mcp.watching.messages.stream import Stretch

PIECE_CHARS: Final = 1 << 16
"""Characters of a whole text in one answer."""
PULSE_MAX: Final = 300
"""Letters of a session's pulse: of more steps one letter stands for several."""
ROWS_MAX: Final = 1_000
"""Sessions in one answer."""
LANES_MAX: Final = 100
NAMES_TOLD: Final = 2_000


class Running(TypedDict):
    """A step that runs."""

    step: int
    elapsed_ms: int


class Row(TypedDict):
    """A session in the list."""

    id: str
    title: str | None
    status: SessionStatus
    client: str | None
    parent: str | None
    opened: str
    last: str
    used: Used
    limits: Used
    chars: int | None
    """Of the first context; None: it is not loaded."""
    documents: int
    held: str
    pulse: str
    """A letter a step: o ok, e went wrong, k kernel replaced, s sub-calls, h a person's cell, f final answer."""
    running: Running | None
    said: str | None
    """One sentence of ours on how it stands, where the status does not say it."""


class Rows(TypedDict):
    """A page of the list, the last used first."""

    sessions: list[Row]
    older: int
    """How many more there are: `before` the last one's `last`, a comma and its `id`."""
    damaged: int
    """Records that cannot be read."""


class RowsMessage(TypedDict):
    """Of the list's stream: rows that are new or have changed, and the ids of those that are gone."""

    type: Literal["sessions"]
    sessions: list[Row]
    gone: list[str]


Piece = TypedDict("Piece", {"text": str, "from": int, "next": int | None, "chars": int})
"""A part of a text. `next`: where the rest begins; None: it ends here."""

Window = TypedDict(
    "Window",
    {"from": int, "to": int, "searched": str | None, "delivered": list[Range], "stretches": list[Stretch]},
)
"""A part of a context's map. `searched`: as in `MapMessage`, of this part, in as many bins as were asked for."""


class Document(TypedDict):
    """A document, in characters of its context."""

    name: str
    start: int
    chars: int


class Lane(Document):
    """A document of which something was delivered or cited."""

    delivered: list[Range]
    cited: list[Range]


class Lanes(TypedDict):
    """The most cited and most delivered documents, of `read` ones of which anything was; `total`: all there are."""

    documents: list[Lane]
    read: int
    total: int


class DocumentsMessage(Lanes):
    """In a page of one file, which has nobody to ask: the lanes of a context."""

    type: Literal["documents"]
    context: str


class Name(TypedDict):
    """A name that the session's code has bound. `fate`: what a restore made of it, and `why`."""

    name: str
    type: str
    size: int | None
    step: int
    fate: NotRequired[Literal["older", "gone"]]
    why: NotRequired[str]


class Names(TypedDict):
    """The newest first; `more` are not listed."""

    names: list[Name]
    more: int


class Files(TypedDict):
    """The files of the session's code, of which the record has none: `words` says what lists them."""

    files: list[str]
    words: str
