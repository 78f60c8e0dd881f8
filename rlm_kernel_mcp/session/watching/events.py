"""What a watcher of a session is told: plain data, one JSON object each.

Is: the form of each event, with its fields, and the bounds of the texts in them. Is not: who is told (`feeds.py`), nor
the trace, which the record has: an event with an `id` says that the record has a row of that id, or will in a moment,
and that is where the texts are. Above: `feeds.py`, `live_output.py`, `telling.py`. Below: `session/reports.py`.

All texts are raw, as the kernel's code or a client gave them. Whoever puts them on a terminal uses
`rlm_kernel_mcp.text.safe_text.safe_text`. A watcher passes over types and fields that it does not know: there will be
more. Times are UTC, ISO 8601; ids are texts, since they are too large for a number of JavaScript.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NotRequired, TypedDict

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.account import Account
    from rlm_kernel_mcp.session.reports import GuardrailStop, LossReport

EVENT_BYTES_MAX: Final = 160_000
"""Of an event as JSON. A socket passes a message of 200,000 bytes; a character takes twelve at most, beyond the BMP."""
CODE_CHARS: Final = 6_000
"""Characters of a step's code that its begin has; the record has all of it."""
PIECE_CHARS: Final = 8_000
"""Characters of output in one event."""
SAID_CHARS: Final = 1_000
"""Characters of a reason or a message."""
NAMES_MAX: Final = 30
NAME_CHARS: Final = 100
WHY_CHARS: Final = 100

Stream = Literal["stdout", "stderr"]
STREAMS: Final[tuple[Stream, ...]] = ("stdout", "stderr")


class Used(TypedDict):
    """What the session has used of its limits by then."""

    steps: int
    runtime_ms: int
    chars: int


class Watching(TypedDict):
    """The first event: from here on everything is told. Where a step runs, its `begin` and its output come next."""

    type: Literal["watching"]
    session: str
    here: bool
    """Whether this process has the session in memory; else another one may drive it, and nothing is told of that."""


class Begin(TypedDict):
    """A step begins: its row is in the record before its code runs."""

    type: Literal["begin"]
    id: str
    step: int
    code: str
    """At most `CODE_CHARS` characters of it."""
    code_chars: int
    """All of them."""
    elapsed_ms: int
    """For how long it has been running, where the watcher came later."""


class Output(TypedDict):
    """A piece of a running step's output: `at` is the place of its first character in the stream.

    What lies between the end of the last piece and `at` was left out: it came too fast.
    """

    type: Literal["output"]
    step: int
    stream: Stream
    at: int
    text: str


class Lost(TypedDict):
    """A name whose value is gone, or is older than it was."""

    name: str
    why: str


class Recorded(TypedDict):
    """Something that is over: its row is in the record."""

    type: Literal["opened", "context_added", "step", "interrupt", "restore", "final"]
    id: str
    ts: str
    step: int
    status: str
    """As the trace has it: of a step `ok`, `error`, `timeout`, `interrupted`, `kernel_died`."""
    source: str
    """`mcp`, or `console` for a cell of an attached console."""
    ms: int
    used: Used
    summary: NotRequired[str]
    """Not of a step, whose code its `begin` has."""
    printed: NotRequired[dict[Stream, int]]
    """Of a step: characters of each stream that the record has."""
    lost: NotRequired[list[Lost]]
    restored: NotRequired[list[str]]
    """Of a restore: names that are gone, and those that are back."""
    more_lost: NotRequired[int]
    more_restored: NotRequired[int]
    """How many are not listed."""


class Limit(TypedDict):
    """A limit was reached: no further step runs."""

    type: Literal["limit"]
    id: str
    ts: str
    limit: GuardrailStop
    used: Used


class Refused(TypedDict):
    """A call was not served: `code` and `message` are what its client was answered."""

    type: Literal["refused"]
    id: NotRequired[str]
    """Where the record has it: of a step that a limit refused, and of an answer whose citations failed."""
    ts: str
    code: str
    message: str


class KernelEnded(TypedDict):
    """The session's kernel is gone. Its next use has another one, and then there is a `restore`."""

    type: Literal["kernel_ended"]
    ts: str
    reason: str


class Dropped(TypedDict):
    """So many events were not kept for this watcher, which did not read: the record has what became of them."""

    type: Literal["dropped"]
    events: int


Event = Watching | Begin | Output | Recorded | Limit | Refused | KernelEnded | Dropped


def encoded(event: Event) -> bytes:
    """An event as it travels: ASCII, so that lone surrogates pass too."""
    return json.dumps(event, separators=(",", ":")).encode("ascii")


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def used_of(account: Account) -> Used:
    used = account.counters
    return {"steps": account.used_steps, "runtime_ms": used.runtime_ms, "chars": used.budget_used}


def loss_fields(loss: LossReport, most: int = NAMES_MAX) -> dict[str, Any]:
    """What a restore says of the names: the first of them, and how many more there are."""
    lost: list[Lost] = [{"name": name[:NAME_CHARS], "why": why[:WHY_CHARS]} for name, why in loss.names[:most]]
    return {
        "lost": lost,
        "restored": [name[:NAME_CHARS] for name in loss.restored[:most]],
        "more_lost": loss.more_lost + max(len(loss.names) - most, 0),
        "more_restored": loss.more_restored + max(len(loss.restored) - most, 0),
    }
