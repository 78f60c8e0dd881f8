"""The trace as the client reads it: events, cut into pages.

Is: pure functions from the store's rows to `TracePage`. Is not: the store (`reading.py`), nor what an event is
(`events.py`). Above: `reading.py`. Below: `events.py`, `store/store.py`'s rows, `text/safe_text.py`.

A page is a window over the events one after the other. A place in them, which `next_offset` is, counts for each event
the characters of its fixed part, then, with `detail="full"`, the bytes of its texts as the store has them: what lies
before a page is passed over by its length and not read. A window that begins or ends inside a text has that part of it,
under the same event's fixed part again, so that the pieces of all pages, put together, are the whole. What a final
answer cites and an event's facts stand beside that, in the page in which the event begins; facts take of its room.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.trace.events import Text, Texts, event_of, texts_of, with_facts, with_texts
from rlm_kernel_mcp.session.trace.reports import TraceEvent, TracePage
from rlm_kernel_mcp.store.store import EventHead
from rlm_kernel_mcp.text.characters import LONGEST_SEQUENCE
from rlm_kernel_mcp.text.safe_text import safe_prefix, safe_text, splits_at

TEXTS: Final = ("code", "stdout", "stderr", "result", "evalue", "traceback")
_CHARACTER_BYTES: Final = 4

Detail = Literal["summary", "full"]
ReadTexts = Callable[[EventHead], Texts | None]
"""Reads an event's texts; None where they are damaged."""


@dataclass(slots=True)
class _Window:
    """A part of one event's texts under way."""

    room: int
    """Characters that may still be shown."""
    must: bool
    """Whether something must be shown even without room: the reader has to get on."""
    shown: dict[str, str] = field(default_factory=lambda: dict.fromkeys(TEXTS, ""))


def page(
    heads: Iterable[EventHead], read: ReadTexts, *, detail: Detail, max_output_chars: int, offset: int
) -> tuple[TracePage, int]:
    """The page at a place, of about `max_output_chars` characters, and how many damaged events it leaves out."""
    events: list[TraceEvent] = []
    damaged = position = 0
    room = max_output_chars
    for head in heads:
        event = event_of(head.row)
        fixed = _fixed_chars(event)
        size = head.text_bytes if detail == "full" else 0
        if position + fixed + size <= offset:
            position += fixed + size
            continue
        is_new = offset <= position
        if events and fixed > room:
            return TracePage(tuple(events), position), damaged
        texts = read(head) if detail == "full" else {}
        if is_new and detail == "full":
            event = with_facts(event, head.row, room - fixed)
        used = fixed + _fact_chars(event) if is_new else 0
        window = _Window(room - used, must=not is_new and not events)
        try:
            stop = None if texts is None else _fill(window, texts_of(texts), max(offset - position - fixed, 0))
        except SessionNotFound:  # a page of a final answer; what lies before it was read from there
            texts = stop = None
        if texts is None:
            damaged += 1
        else:
            if detail == "full":
                event = with_texts(event, texts, window.shown)
            events.append(event)
            if stop is not None:
                return TracePage(tuple(events), position + fixed + stop), damaged
            room = window.room
        position += fixed + size
    return TracePage(tuple(events), None), damaged


def _fixed_chars(event: TraceEvent) -> int:
    """Of what each page has of an event that any of it is in; facts and displays are not there."""
    own = asdict(event)
    del own["facts"], own["displays"]
    return len(json.dumps(own, ensure_ascii=False))


def _fact_chars(event: TraceEvent) -> int:
    return len(json.dumps(event.facts, ensure_ascii=False)) if event.facts else 0


def _fill(window: _Window, texts: Mapping[str, Text], begin: int) -> int | None:
    """Show what there is room for, from byte `begin` of the texts on. Returns where that ends; None at their end."""
    at = 0
    for name, data in texts.items():
        start = min(max(begin - at, 0), len(data))
        if start < len(data):
            window.shown[name], end = _part(data, start, window)
            if end < len(data):
                return at + end
        at += len(data)
    return None


def _part(data: Text, start: int, window: _Window) -> tuple[str, int]:
    """Safe text from a byte of a text on, and the byte where it ends."""
    while start < len(data) and _continues(data[start]):  # an offset that the caller invented
        start += 1
    end = min(start + _CHARACTER_BYTES * (max(window.room, 0) + LONGEST_SEQUENCE), len(data))
    while end < len(data) and _continues(data[end]):
        end -= 1
    text = data[start:end].decode("utf-8", "surrogatepass")
    shown, covered = safe_prefix(text, window.room)
    if not covered and text and window.must:
        covered = next((place for place in range(1, len(text)) if not splits_at(text, place)), len(text))
        shown = safe_text(text[:covered])
    window.must = window.must and not covered
    window.room -= len(shown)
    return shown, start + len(text[:covered].encode("utf-8", "surrogatepass"))


def _continues(byte: int) -> bool:
    return byte & 0xC0 == 0x80
