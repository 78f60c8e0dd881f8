"""Reads a session's trace from the store, event by event, beside those who write it.

Is: which rows, and what is reported with them, off the event loop. Is not: an event (`events.py`) or a page
(`pages.py`). Above: `session/registry.py`, `commands/trace.py`. Below: `events.py`, `batches.py`, `pages.py`,
`store/store.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypedDict

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.seen.maps import SeenMap
from rlm_kernel_mcp.session.trace.batches import Heads
from rlm_kernel_mcp.session.trace.displayed import DISPLAYED, displayed_in
from rlm_kernel_mcp.session.trace.events import Texts, event_of, marked_running, whole_event
from rlm_kernel_mcp.session.trace.facts import SEEN
from rlm_kernel_mcp.session.trace.pages import Detail, page
from rlm_kernel_mcp.session.trace.reports import TraceEvent, TracePage
from rlm_kernel_mcp.store.long_answers import PagedBytes, PagedText
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import EventHead, Rows, Store
from rlm_kernel_mcp.text import safe_text
from rlm_kernel_mcp.text.safe_text import Cut, cut_ends, cut_text
from rlm_kernel_mcp.text.wording import damaged_words

EVENT_BYTES: Final = 1_000
"""Of an event beside its texts, about."""
PAGE_BYTES: Final = 8 << 20
"""Of the events that a program is given at once."""
END_CHARS: Final = 1_000_000
"""Of a final answer in pages, at its beginning and its end, in what a program is given of a trace."""
PART_CHARS: Final = 4_000_000
"""Of such an answer that a program is given at once."""


class Asked(TypedDict):
    """`Wanted` as arguments of a call."""

    from_step: int | None
    to_step: int | None
    detail: str
    max_output_chars: int
    offset: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which page of which steps."""

    from_step: int | None
    to_step: int | None
    detail: str
    max_output_chars: int
    offset: int


@dataclass(frozen=True, slots=True)
class Nested:
    """An event of a session, or of one `depth` sessions below it. None: it is damaged."""

    session_id: str
    depth: int
    event: TraceEvent | None


def read_page(store: Store, session_id: str, wanted: Wanted) -> TracePage:
    """A page of a session's trace. Waits for the disk: call it by `in_reader`."""
    detail: Detail = "full" if wanted.detail == "full" else "summary"
    asked = with_questions(store, session_id, (wanted.from_step, wanted.to_step), full=detail == "full")
    heads = asked.heads
    size, offset = wanted.max_output_chars, wanted.offset
    found, damaged = page(heads, asked.texts, detail=detail, max_output_chars=size, offset=offset)
    empty = "" if found.events or heads.damaged + damaged else _why_empty(store, session_id, wanted)
    notes = (empty, store.problem, damaged_words(heads.damaged + damaged, "event"))
    return replace(found, note=" ".join(filter(None, notes)) or None)


def _why_empty(store: Store, session_id: str, wanted: Wanted) -> str:
    """What to say of an empty page."""
    last = max((head.row.step_index for head in store.heads(session_id)), default=0)
    if wanted.from_step is not None and wanted.from_step > last:
        return f"from_step={wanted.from_step:,} lies after the last step, which is {last:,}."
    return f"offset={wanted.offset:,} lies behind the end of these events." if wanted.offset else ""


def whole_trace(store: Store, session_id: str) -> Iterator[TraceEvent | None]:
    """Every event in full, one after the other; None in the place of one that is damaged."""
    asked, seen = with_questions(store, session_id, (None, None)), seen_of(store, session_id)
    yield from (_whole(store, asked, head, seen) for head in asked.heads)
    yield from (None for _ in range(asked.heads.damaged))


def nested_trace(store: Store, session_id: str) -> Iterator[Nested]:
    """The same with the events of its child sessions, and of theirs: after those of the questions they were opened for.

    A child whose question has no row yet, or not any more, comes at the end. A session comes once, whoever a damaged
    record says its parent is.
    """
    return _nested(store, session_id, 0, {session_id})


def _nested(store: Store, session_id: str, depth: int, seen: set[str]) -> Iterator[Nested]:
    asked, looks = with_questions(store, session_id, (None, None)), seen_of(store, session_id)
    left = dict.fromkeys(child for child in store.subcalls.children(session_id) if child not in seen)
    seen.update(left)
    for head in asked.heads:
        yield Nested(session_id, depth, _whole(store, asked, head, looks))
        for child in asked.children(head):
            if child in left:
                del left[child]
                yield from _nested(store, child, depth + 1, seen)
    yield from (Nested(session_id, depth, None) for _ in range(asked.heads.damaged))
    for child in left:
        yield from _nested(store, child, depth + 1, seen)


def _whole(store: Store, asked: Heads, head: EventHead, seen: SeenMap) -> TraceEvent | None:
    """An event in full, with what was displayed and seen; None where it is damaged."""
    texts = asked.texts(head)
    try:
        event = None if texts is None else whole_event(head, texts)
    except SessionNotFound:
        return None
    return None if event is None else with_displays(store, head, with_seen(head, event, seen))


def seen_of(store: Store, session_id: str) -> SeenMap:
    """What the steps of a session have seen of its contexts, as the record has it now."""
    seen = SeenMap(store, session_id)
    seen.refresh()
    return seen


def with_seen(head: EventHead, event: TraceEvent, seen: SeenMap) -> TraceEvent:
    """The event of a head with what its step has seen of the contexts, if that is known: for people and files alone."""
    row = seen.of_event(head.row.id or 0).row()
    return replace(event, facts=event.facts | {SEEN: row}) if row else event


def with_displays(store: Store, head: EventHead, event: TraceEvent) -> TraceEvent:
    """The event of a head with what was displayed, if anything was."""
    if DISPLAYED not in event.facts:
        return event
    rows = store.displays.of(head.row.session_id, head.row.id or 0)
    return replace(event, displays=displayed_in(rows, event.facts))


async def read_trace(
    store: Store, session_id: str, steps: tuple[int | None, int | None], *, full: bool, offset: int
) -> tuple[list[TraceEvent], int | None]:
    """The events of these steps for a program, with all of their texts raw, or with none; damaged ones are left out.

    From event `offset` on, about `PAGE_BYTES` of them; and at which event the rest begins, if there is more.
    """

    def read() -> tuple[list[TraceEvent], int | None]:
        asked = with_questions(store, session_id, steps, full=full)
        heads = asked.heads
        end, size = offset, 0
        while end < len(heads) and size < PAGE_BYTES:
            size += EVENT_BYTES + (heads[end].text_bytes if full else 0)
            end += 1
        following = end if end < len(heads) else None
        if not full:
            return [event_of(head.row) for head in heads[offset:end]], following
        found = (_for_program(head, asked.texts(head)) for head in heads[offset:end])
        return [event for event in found if event is not None], following

    return await in_reader(read)


def _for_program(head: EventHead, texts: Texts | None) -> TraceEvent | None:
    """An event with its texts raw; None where they are damaged. Of a final answer in pages it has head and tail."""
    result = None if texts is None else texts.get("result")
    try:
        if texts is not None and isinstance(result, PagedBytes):
            texts = {**texts, "result": _ends(result.text).encode("utf-8", "surrogatepass")}
        return None if texts is None else whole_event(head, texts, str)
    except SessionNotFound:
        return None


def _ends(answer: PagedText) -> str:
    chars = len(answer)
    gone = max(chars - 2 * END_CHARS, 0)
    note = f"\n[... {gone:,} of {chars:,} characters are left out; finalize, called again as it was, gives all ...]\n"
    return answer.part(0, END_CHARS) + (note if gone else "") + answer.part(max(chars - END_CHARS, END_CHARS), chars)


async def read_ends(answer: PagedText, max_output_chars: int | None, where: str) -> Cut:
    """What is shown of a long answer, `where` the rest is; a program gets its beginning raw, and asks for more.

    Raises: as `read_answer`.
    """

    def read() -> Cut:
        if max_output_chars is None:
            first = answer.part(0, PART_CHARS)
            return Cut(first, len(answer) - len(first), says_where=True)
        edge = max_output_chars + safe_text.END_CHARS
        first, last = answer.part(0, edge), answer.part(max(len(answer) - edge, 0), len(answer))
        if len(answer) <= edge:  # the variable was bound to another text meanwhile
            return cut_text(first, max_output_chars, where)
        return cut_ends(first, last, len(answer), max_output_chars, where)

    return await in_reader(read)


async def read_answer(store: Store, session_id: str, offset: int) -> str:
    """A part of a session's final answer for a program, from a character on; empty behind the end.

    Raises:
        SessionNotFound: it is damaged.
    """

    def read() -> str:
        answer, end = store.final_answer(session_id), offset + PART_CHARS
        return answer.part(offset, end) if isinstance(answer, PagedText) else answer[offset:end]

    return await in_reader(read)


def with_questions(store: Store, session_id: str, steps: tuple[int | None, int | None], *, full: bool = True) -> Heads:
    """The events, and those of the questions that the code of these steps has asked. `full`: with sizes of texts."""
    return Heads(store, session_id, heads_of(store, session_id, *steps), steps, full=full)


def heads_of(store: Store, session_id: str, from_step: int | None, to_step: int | None) -> Rows[EventHead]:
    """The events without their texts, where that of the step which runs just now says so."""
    heads = store.heads(session_id, from_step, to_step)
    running = _running_step(store, session_id)
    return heads if running is None else Rows(marked_running(heads, running), heads.damaged)


def _running_step(store: Store, session_id: str) -> int | None:
    """The step that is running just now, in whichever server; a step whose server was killed is not."""
    try:
        record = store.session(session_id, whole=False)
    except SessionNotFound:
        return None
    if record is None or record.status != "running" or store.holder(session_id) is None:
        return None
    index: int = json.loads(record.counters or "{}").get("step_index", 0)
    return index
