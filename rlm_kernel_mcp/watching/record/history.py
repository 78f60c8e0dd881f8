"""One session's record as a stream of messages: what stands above its steps, its events, and what is new since.

Is: messages within their bounds, as many as are asked for at a time. Is not: what a host tells (`watching/live/`). It
waits for the disk; one thread at a time calls it. Above: `watching/live/session_stream.py`, `commands/watch.py`. Below:
`news.py`, `heads.py`, `shaping.py`, `maps.py`, `store/store.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.reports import SessionStatus
from rlm_kernel_mcp.session.seen.maps import SeenMap, reports_of
from rlm_kernel_mcp.session.trace.batches import ACTION as QUESTIONS
from rlm_kernel_mcp.session.trace.displayed import DISPLAYED
from rlm_kernel_mcp.session.trace.events import Texts, extra_of, texts_of
from rlm_kernel_mcp.session.trace.facts import FACTS
from rlm_kernel_mcp.store.store import ENDED_STATUSES, EventHead, SessionRecord, Store
from rlm_kernel_mcp.text.surrogates import decoded
from rlm_kernel_mcp.watching.messages.events import HEAD_CHARS, Event
from rlm_kernel_mcp.watching.messages.stream import EVENTS_MAX, Begin, End, Message
from rlm_kernel_mcp.watching.record.heads import head_of, status_of, waits
from rlm_kernel_mcp.watching.record.maps import Maps
from rlm_kernel_mcp.watching.record.news import Record
from rlm_kernel_mcp.watching.record.shaping import event_of

FIRST_STEPS: Final = 100
"""Steps that the first look takes, so that a page has something to show however many there are."""
MESSAGE_CHARS: Final = 256_000
"""Of the texts of the events in one message, about."""
EVENT_CHARS: Final = 500
"""Of an event beside its texts, about."""
LATEST: Final = 16
"""Events that are looked at again: what was delivered is found out after a step's end."""
SEEN_ROWS: Final = 2_000
"""Rows of what was searched and delivered that are read at a time for the events of one message."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the session stands. `is_over`: nothing more comes, once all that is recorded was told."""

    status: SessionStatus
    waits: int
    is_over: bool


class History:
    """One session's record, as far as it was told."""

    def __init__(self, store: Store, session_id: str, after: int = 0) -> None:
        """`after`: events up to that id were told before.

        Raises:
            SessionNotFound: there is no such session, or its record is damaged.
        """
        self._store, self._session_id = store, session_id
        record = self._found()
        if record is None:
            raise SessionNotFound(f"There is no session {session_id!r}.", "The list of sessions has those that are.")
        self.maps, self._contexts = maps_of(store, record), contexts_of(record)
        self._view = _Collected(store, self.maps)
        self._record = Record(store, session_id, self._view, after=after, first_steps=FIRST_STEPS)
        self._looking: Iterator[None] | None = None
        self._is_first, self._looks = True, 0
        self._has_map = False
        self._latest: dict[str, Event] = {}
        self.cursor = str(after) if after else ""
        """All events up to this id were told; of one behind it that is not known."""
        self.standing = self._standing_of(record)

    def head(self) -> list[Message]:
        """What comes first, above the steps."""
        record = self._found()
        return [] if record is None else [head_of(self._store, record, self.maps)]

    def has_shown(self, row_id: int) -> bool:
        """Whether a step was told as one that is over."""
        return self._record.has_shown(row_id)

    @property
    def is_behind(self) -> bool:
        """Whether more is there to be told at once."""
        return self._looking is not None or self._looks < 2

    def take(self, told_of: int | None = None) -> list[Message]:
        """What is new, as much as one message has. `told_of`: the row of a step whose output somebody else tells."""
        head: list[Message] = []
        if self._looking is None:
            record = self._found()
            self.standing = self._standing_of(record)  # first: what came before is told then
            head = [] if record is None else self._anew(record)
            self._looking = self._record.looking(told_of)
        if self._is_first:
            self.maps.refresh(SEEN_ROWS)
        for _ in self._looking:
            if self._view.is_full:
                break
        else:
            self._looking, self._looks = None, self._looks + 1
        events, begin = self._view.take()
        self._advance(events)
        found = self._told(events)
        self._is_first = self._is_first and self.is_behind
        if not self._is_first and self._looking is None:
            found += self._late_facts()
        return [*head, *found, *([begin] if begin is not None else [])]

    def end(self) -> End:
        """The last message."""
        return {"type": "end", "status": self.standing.status}

    def _anew(self, record: SessionRecord) -> list[Message]:
        """What stands above the steps, once more, where a context has come or is there now."""
        contexts = contexts_of(record)
        if contexts == self._contexts:
            return []
        self.maps, self._contexts, self._has_map = maps_of(self._store, record), contexts, False
        self._view.maps = self.maps
        return [head_of(self._store, record, self.maps)]

    def _told(self, events: list[Event]) -> list[Message]:
        if self._is_first and self.is_behind and not events:
            return []
        if self._is_first:  # the last of these says that it is, even where nothing is in it
            return [{"type": "events", "events": events, "more": self.is_behind}]
        return [{"type": "event", "event": event, "status": self.standing.status} for event in events]

    def _late_facts(self) -> list[Message]:
        """What became known of the newest events, and of the maps, since they were told."""
        if not self.maps.refresh() and self._has_map:
            return []
        self._has_map = True
        found: list[Message] = [*self.maps.news()]
        for event in self._latest.values():
            before = event.get("delivered"), event.get("searched")
            self.maps.add_to(event)
            if before != (event.get("delivered"), event.get("searched")):
                found.append({"type": "event", "event": event, "status": self.standing.status})
        return found

    def _advance(self, events: list[Event]) -> None:
        """Note up to where everything was told. Questions are told late, and no measure of that."""
        last = max((int(event["id"]) for event in events if event["type"] != "subcalls"), default=0)
        last = max(last, int(self.cursor or 0))
        if self._record.open_id is not None:
            last = min(last, self._record.open_id - 1)
        self.cursor = str(last) if last > 0 else ""
        for event in events:
            self._latest[event["id"]] = event
        for event_id in [*self._latest][:-LATEST]:
            del self._latest[event_id]

    def _found(self) -> SessionRecord | None:
        return self._store.session(self._session_id, whole=False)

    def _standing_of(self, record: SessionRecord | None) -> Standing:
        if record is None:  # it was removed, unless the store cannot be read just now
            is_gone = self._store.unread is None
            return Standing("dead", 0, is_over=True) if is_gone else self.standing
        status = status_of(self._store, record)
        return Standing(status, waits(self._store, record), is_over=status in ENDED_STATUSES)


def maps_of(store: Store, record: SessionRecord) -> Maps:
    """The map of a session's contexts."""
    return Maps(SeenMap(store, record.session_id), reports_of(record))


def contexts_of(record: SessionRecord) -> list[tuple[Any, ...]]:
    """What the page shows of a session's contexts, to be compared."""
    return [tuple(map(row.get, ("name", "state", "chars", "document_count", "held"))) for row in reports_of(record)]


class _Collected:
    """A `View` of the record that keeps what it is shown until it is taken."""

    def __init__(self, store: Store, maps: Maps) -> None:
        self._store, self.maps = store, maps
        self._events: list[Event] = []
        self._chars = 0
        self._begin: Begin | None = None

    @property
    def is_full(self) -> bool:
        return len(self._events) >= EVENTS_MAX or self._chars >= MESSAGE_CHARS

    def take(self) -> tuple[list[Event], Begin | None]:
        """What there is. Nothing of it is kept."""
        found = self._events, self._begin
        self._events, self._chars, self._begin = [], 0, None
        return found

    def event(self, head: EventHead, texts: Texts) -> None:
        row = head.row
        facts = extra_of(row).get(FACTS)
        has_displays = row.action != QUESTIONS and isinstance(facts, dict) and DISPLAYED in facts
        displays = self._store.displays.of(row.session_id, row.id or 0) if has_displays else ()
        event = event_of(head, texts, displays)
        if event is not None:
            self.maps.add_to(event)
            self._events.append(event)
            self._chars += chars_of(event)

    def running(self, head: EventHead, texts: Texts) -> None:
        row, raw = head.row, {name: decoded(text[:]) for name, text in texts_of(texts).items()}
        self._begin = {
            "type": "begin",
            "id": str(row.id),
            "step": row.step_index,
            "source": "console" if row.source == "console" else "mcp",
            "code": raw["code"][:HEAD_CHARS],
            "code_chars": len(raw["code"]),
            "ts": row.ts,
            "elapsed_ms": row.duration_ms,
            "so_far": (raw["stdout"] + raw["stderr"])[-HEAD_CHARS:],
        }

    def line(self, text: str) -> None:
        """How long a step waits is told with how the session stands."""


def chars_of(value: Any) -> int:
    """About the characters of an event as JSON, from its texts."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return EVENT_CHARS * ("id" in value) + sum(map(chars_of, value.values()))
    return sum(map(chars_of, value)) if isinstance(value, list) else 0


def moment_of(event_id: int) -> str:
    """When a row was begun, by its id."""
    try:
        at = datetime.fromtimestamp(event_id / 1e9, UTC)
    except (ValueError, OverflowError, OSError):
        at = datetime.now(UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
