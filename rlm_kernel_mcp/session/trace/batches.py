"""The questions of a session in its trace: an event for those that were asked together, made of their rows.

Is: rows of the store to an event's head and text, a line a question. Is not: an event that anybody writes: a kill
leaves no batch half told. Above: `reading.py`. Below: `events.py`, `store/subcalls.py`, `text/safe_text.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.session.trace.events import Texts
from rlm_kernel_mcp.store.store import EventHead, EventRow, Rows, Store
from rlm_kernel_mcp.store.subcalls import BatchRow, SubcallRow, batches_of
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted

ACTION: Final = "subcalls"
TOLD: Final = (
    "number",
    "fate",
    "error_code",
    "duplicate_of",
    "model_asked",
    "model_said",
    "prompt_chars",
    "text_chars",
    "text_sha256",
    "answer_chars",
    "attempts",
    "tokens_in",
    "tokens_out",
    "usd",
    "queued_ms",
    "duration_ms",
)
"""What is told of each question where it is anything, beside the beginnings of its texts."""
OF_THE_SENDING: Final = frozenset(
    {"model_said", "attempts", "tokens_in", "tokens_out", "usd", "queued_ms", "duration_ms"}
)
"""Those of them that the row of a late end has, where a question was sent and nobody waited for it in the end."""
CHILDREN_NAMED: Final = 3
"""Child sessions that an event names in its summary; each question's line names its own."""
SHOWN_CHARS: Final = 200
"""Of each text of a question, and of its answer; all of it is in the store, packed (`Subcalls.texts`)."""

BY_AGENT: Final = "agent:"
"""How the name of a connection begins that has answered."""


class Heads:
    """A session's events in order, those of its questions among them."""

    def __init__(
        self,
        store: Store,
        session_id: str,
        heads: Rows[EventHead],
        steps: tuple[int | None, int | None],
        *,
        full: bool = True,
    ) -> None:
        """`full`: whether the heads of questions have the size of their texts, all of which are read for that."""
        self._store = store
        self._full = full
        self._rows: dict[int, list[SubcallRow]] = {}
        """Of each batch, by the id of its event."""
        self._texts: dict[int, bytes] = {}
        rows = store.subcalls.rows(session_id, *steps)
        first, last = steps
        if first and last is None:  # those of consoles' cells belong to the step before, which their rows do not name
            of_cells = store.subcalls.rows(session_id, 0, 0)
            rows = Rows([*of_cells, *rows], of_cells.damaged + rows.damaged)
        made = [self._head(session_id, batch, of) for batch, of in _together(rows)]
        placed = _in_order(heads, made) if made else heads
        everything = [head for head in placed if head.row.step_index >= (first or 0)]
        self.heads = Rows(everything, heads.damaged + rows.damaged)

    def texts(self, head: EventHead) -> Texts | None:
        """An event's texts; None where they are damaged."""
        number = head.row.id or 0
        return {"stdout": self._text(number)} if number in self._rows else self._store.texts(head)

    def children(self, head: EventHead) -> list[str]:
        """The sessions that were opened for an event's questions."""
        return _children(self._rows.get(head.row.id or 0, ()))

    def _head(self, session_id: str, batch: BatchRow, rows: list[SubcallRow]) -> EventHead:
        last = max(row.id for row in rows)
        self._rows[last] = rows
        row = EventRow(
            session_id,
            batch.ts,
            batch.step_index,
            ACTION,
            source=batch.source,
            result_status="error" if batch.failed else "ok",
            summary=_summary(batch) + _named(_children(rows)),
            duration_ms=batch.duration_ms,
            id=last,
        )
        return EventHead(row, len(self._text(last)) if self._full else 0)

    def _text(self, number: int) -> bytes:
        if number not in self._texts:
            lines = (self._line(row, sent) for row, sent in _lines(self._rows[number]))
            self._texts[number] = "\n".join(lines).encode("utf-8", "surrogatepass")
        return self._texts[number]

    def _line(self, row: SubcallRow, sent: SubcallRow) -> str:
        """A question. `sent`: the row of what was sent for it, mostly the same one."""
        values = ((name, getattr(sent if name in OF_THE_SENDING else row, name)) for name in TOLD)
        told = {name: value for name, value in values if value not in (None, "", 0)}
        if row.kind != "llm":
            told |= {"kind": row.kind, "depth": row.depth}
            told |= {} if row.child_session is None else {"child_session": row.child_session}
        if sent.answered_by.startswith(BY_AGENT):  # of an endpoint it is the same for all
            told["answered_by"] = sent.answered_by
        texts = self._store.subcalls.texts(sent.session_id, sent.id)
        said = (("prompt", texts.prompt), ("text", texts.text), ("answer", texts.answer))
        told |= {name: _beginning(text) for name, text in said if text}
        # Here: made safe as a line of JSON, one with such a character would be no JSON any more.
        shown = {name: safe_text(value) if isinstance(value, str) else value for name, value in told.items()}
        return json.dumps(shown, ensure_ascii=False)


def _lines(rows: Iterable[SubcallRow]) -> Iterator[tuple[SubcallRow, SubcallRow]]:
    """Each row that has a line, with the one of what was sent for it.

    A question that was cancelled under way has two rows: its own, and one of what was sent, which ends later. Where no
    answer came of that they are one line.
    """
    rows = list(rows)
    failed = {row.number for row in rows if row.fate == "failed"}
    unanswered = {row.number: row for row in rows if row.fate == "late" and row.error_code and row.number in failed}
    for row in rows:
        if row is not unanswered.get(row.number):
            yield row, unanswered.get(row.number, row) if row.fate == "failed" else row


def _children(rows: Iterable[SubcallRow]) -> list[str]:
    return list(dict.fromkeys(row.child_session for row in rows if row.child_session is not None))


def _named(children: Sequence[str]) -> str:
    """Where the steps are that led to the answers."""
    if not children:
        return ""
    more = f" and {len(children) - CHILDREN_NAMED:,} more" if len(children) > CHILDREN_NAMED else ""
    return f"; in {counted(len(children), 'child session')}: {', '.join(children[:CHILDREN_NAMED])}{more}"


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def _in_order(heads: Iterable[EventHead], made: Iterable[EventHead]) -> list[EventHead]:
    """All of them, where those of questions say what was used as the step that asked them does, or the event before.

    Those of a console's cells belong to the step before, as the cells do.
    """
    of_steps = {
        head.row.step_index: head.row.guardrail_snapshot
        for head in heads
        if head.row.action == "run_repl" and head.row.guardrail_snapshot
    }
    found, before, step = list[EventHead](), "", 0
    for head in sorted([*heads, *made], key=lambda head: head.row.id or 0):
        row = head.row
        if row.action != ACTION:
            before, step = row.guardrail_snapshot or before, max(step, row.step_index)
            found.append(head)
        else:
            snapshot, index = of_steps.get(row.step_index, before), row.step_index or step
            found.append(replace(head, row=replace(row, guardrail_snapshot=snapshot, step_index=index)))
    return found


def _together(rows: Iterable[SubcallRow]) -> list[tuple[BatchRow, list[SubcallRow]]]:
    """The questions of each batch, and their sum."""
    found: dict[tuple[int, str, int], list[SubcallRow]] = {}
    for row in rows:
        found.setdefault((row.step_index, row.source, row.batch), []).append(row)
    return [(batches_of(of)[0], of) for of in found.values()]


def _summary(batch: BatchRow) -> str:
    """In one line: how many were asked, and what has become of them."""
    parts: Mapping[str, int] = {
        "answered": batch.answered,
        "cached": batch.cached,
        "duplicate": batch.duplicate,
        **dict(sorted(batch.failed.items())),
    }
    fates = ", ".join(f"{count:,} {name}" for name, count in parts.items() if count)
    if batch.kind == "function":
        return f"{counted(batch.asked, 'function call')}: {fates or 'none has ended'}"
    cost = f"{counted(batch.tokens_in + batch.tokens_out, 'token')}"
    usd = "" if batch.usd is None else f", ${batch.usd:.4f}" if batch.usd >= 0.001 else f", ${batch.usd:.6f}"
    return f"{counted(batch.asked, 'question')}: {fates or 'none has ended'}; {cost}{usd}"
