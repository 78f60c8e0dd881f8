"""The trace as the client reads it: events, cut into pages.

Is: pure functions from the store's rows to `TracePage`. Is not: the store. Above: `session.py`. Below: `store.py`'s
rows, `cutting.py`.

A page is a window of characters over the events one after the other: each takes the length of its fixed part, then,
with `detail="full"`, that of its texts. A window that begins or ends inside a text has that part of it, under the
same event's fixed part again, so that the pieces of all pages, put together, are the whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from rlm_kernel_mcp.session.cutting import safe_text, splits
from rlm_kernel_mcp.session.shapes import StepError, TraceEvent, TracePage
from rlm_kernel_mcp.session.store import EventRow

SUMMARY_CHARS: Final = 120
TEXTS: Final = ("code", "stdout", "stderr", "result", "evalue", "traceback")

_LINE_END: Final = re.compile(r"\r\n|\r|\n")

Detail = Literal["summary", "full"]


@dataclass(frozen=True, slots=True)
class _Piece:
    event: TraceEvent
    texts: dict[str, str]
    """The long texts, safe to show, in the order of `TEXTS`."""
    fixed_chars: int

    def is_split(self, at: int) -> bool:
        """Whether a cut before the character `at` of the texts would part two that belong together."""
        for text in self.texts.values():
            if at < len(text):
                return at > 0 and splits(text[at - 1], text[at])
            at -= len(text)
        return False


def page(rows: Iterable[EventRow], *, detail: Detail, max_output_chars: int, offset: int) -> TracePage:
    """The window `[offset, offset + max_output_chars)` of the rows' events."""
    events: list[TraceEvent] = []
    position, end = 0, offset + max_output_chars
    for piece in _pieces(rows, detail):
        start_of_texts = position + piece.fixed_chars
        end_of_event = start_of_texts + sum(len(text) for text in piece.texts.values())
        if end_of_event <= offset and end_of_event > position:
            position = end_of_event
            continue
        if events and start_of_texts > end:
            return TracePage(tuple(events), max(position, offset + 1))
        # A first event whose fixed part alone is larger than the page is shown all the same: the reader must get on.
        begin = max(offset, start_of_texts)
        stop = max(min(end, end_of_event), start_of_texts)
        if begin + 1 < stop < end_of_event and piece.is_split(stop - start_of_texts):
            stop -= 1
        events.append(_window(piece, begin - start_of_texts, stop - start_of_texts))
        if stop < end_of_event:
            return TracePage(tuple(events), max(stop, offset + 1))
        position = end_of_event
    return TracePage(tuple(events), None)


def marked_running(rows: Iterable[EventRow], step_index: int) -> list[EventRow]:
    """The rows; that of the step that runs just now says so, where the store can only say that its end is unknown."""
    running = ("run_repl", "mcp", step_index, "unknown")
    return [
        replace(row, result_status="running")
        if (row.action, row.source, row.step_index, row.result_status) == running
        else row
        for row in rows
    ]


def summary_of(code: str) -> str:
    """The first `SUMMARY_CHARS` characters of some code, each line end as a space."""
    return _LINE_END.sub(" ", code[: 2 * SUMMARY_CHARS])[:SUMMARY_CHARS]


def _pieces(rows: Iterable[EventRow], detail: Detail) -> Iterator[_Piece]:
    for row in rows:
        event = TraceEvent(
            ts=row.ts,
            step_index=row.step_index,
            action=row.action,  # type: ignore[arg-type]  # the store holds only what the session wrote
            source=row.source,  # type: ignore[arg-type]
            result_status=row.result_status,
            summary=safe_text(row.summary),
            duration_ms=row.duration_ms,
            guardrail_snapshot=json.loads(row.guardrail_snapshot or "{}"),
        )
        texts: dict[str, str] = {}
        if detail == "full":
            error: dict[str, Any] = json.loads(row.error) if row.error else {}
            sources = (row.code, row.stdout, row.stderr, row.result, error.get("evalue"), error.get("traceback"))
            texts = {name: safe_text(text or "") for name, text in zip(TEXTS, sources, strict=True)}
            event = replace(event, result=None if row.result is None else "", error=_error(error))
        yield _Piece(event, texts, len(json.dumps(asdict(event), ensure_ascii=False)))


def _error(error: dict[str, Any]) -> StepError | None:
    if not error:
        return None
    return StepError(safe_text(str(error.get("ename"))), "", "")


def _window(piece: _Piece, begin: int, stop: int) -> TraceEvent:
    """The event with the characters `[begin, stop)` of its texts."""
    if not piece.texts:
        return piece.event
    shown: dict[str, str] = {}
    position = 0
    for name, text in piece.texts.items():
        # Safe as a whole, and again as a part: a page of one character may part a line end.
        shown[name] = safe_text(text[max(begin - position, 0) : max(stop - position, 0)])
        position += len(text)
    error = piece.event.error
    return replace(
        piece.event,
        code=shown["code"],
        stdout=shown["stdout"],
        stderr=shown["stderr"],
        result=None if piece.event.result is None else shown["result"],
        error=None if error is None else replace(error, evalue=shown["evalue"], traceback=shown["traceback"]),
    )
