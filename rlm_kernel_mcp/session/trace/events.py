"""Turns a row of the store into an event of the trace: where every form of a trace begins.

Is: pure functions from a row and its texts to `TraceEvent`, every text in it safe to show. Is not: pages (`pages.py`),
the store (`reading.py`), nor what an event looks like: a form of the trace is a module of its own that takes the events
of `reading.whole_trace`, as `server/markdown.py` does. Above: `pages.py`, `reading.py`, `journal.py`.
Below: `store/store.py`'s rows, `text/safe_text.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.exploring import use_of
from rlm_kernel_mcp.session.reports import StepError
from rlm_kernel_mcp.session.trace.facts import facts_of
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.store.long_answers import PagedBytes
from rlm_kernel_mcp.store.store import EventHead, EventRow
from rlm_kernel_mcp.text.safe_text import safe_text

SUMMARY_CHARS: Final = 120
EVIDENCE: Final = "evidence"
"""Key in `extra` of a final answer's event: its citations, and the coverage."""
WAITS: Final = "waits"
"""Key in that of a running step: for how many answers it waits."""
_LINE_END: Final = re.compile(r"\r\n|\r|\n")

Text = bytes | PagedBytes
"""In UTF-8 (surrogatepass). Of one in pages a slice is read when it is asked for, and that may find it damaged."""
Texts = Mapping[str, Text | None]
"""An event's long texts by column, as the store has them."""


def event_of(row: EventRow) -> TraceEvent:
    """The event without its long texts."""
    extra = extra_of(row)
    return TraceEvent(
        ts=row.ts,
        step_index=row.step_index,
        action=row.action,  # type: ignore[arg-type]  # the store holds only what the session wrote
        source=row.source,  # type: ignore[arg-type]
        result_status=row.result_status,
        summary=safe_text(row.summary),
        duration_ms=row.duration_ms,
        guardrail_snapshot=json.loads(row.guardrail_snapshot or "{}"),
        contexts_changed=tuple(extra.get("contexts_changed", ())),
        functions=dict(use_of(extra).functions),
    )


def extra_of(row: EventRow) -> dict[str, Any]:
    """What else the session wants back of a row."""
    found = json.loads(row.extra) if row.extra else {}
    return found if isinstance(found, dict) else {}


def waits_json(answers: int) -> str | None:
    """What the row of a running step has beside its texts: for how many answers it waits."""
    return json.dumps({WAITS: answers}) if answers else None


def waits_of(row: EventRow) -> int:
    """For how many answers a running step waits, by its row (`progress.py`)."""
    found = extra_of(row).get(WAITS)
    return found if type(found) is int and found > 0 else 0


def with_facts(event: TraceEvent, row: EventRow, room: int | None = None) -> TraceEvent:
    """The event with what is known beside its texts, and that of a final answer with what it cites.

    `room`: as of `facts_of`.
    """
    extra = extra_of(row)
    return replace(event, evidence=extra.get(EVIDENCE), facts=facts_of(extra, room))


def texts_of(texts: Texts) -> dict[str, Text]:
    """The long texts by name, in the order of showing; an exception's two are never longer than its JSON."""
    error = _error(texts)
    found: dict[str, Text] = {name: texts.get(name) or b"" for name in ("code", "stdout", "stderr", "result")}
    parts = {name: str(error.get(name) or "") for name in ("evalue", "traceback")}
    return {**found, **{name: part.encode("utf-8", "surrogatepass") for name, part in parts.items()}}


def with_texts(event: TraceEvent, texts: Texts, shown: Mapping[str, str]) -> TraceEvent:
    """The event with the parts of `texts_of(texts)` that are shown, which are safe by now."""
    error = _error(texts)
    return replace(
        event,
        code=shown["code"],
        stdout=shown["stdout"],
        stderr=shown["stderr"],
        result=None if texts.get("result") is None else shown["result"],
        error=StepError(safe_text(str(error.get("ename"))), shown["evalue"], shown["traceback"]) if error else None,
    )


def whole_event(head: EventHead, texts: Texts, show: Callable[[str], str] = safe_text) -> TraceEvent:
    """The event with its texts in full. `show`: what is made of each.

    Raises:
        SessionNotFound: a final answer in pages is damaged.
    """
    shown = {name: show(text[:].decode("utf-8", "surrogatepass")) for name, text in texts_of(texts).items()}
    return with_texts(with_facts(event_of(head.row), head.row), texts, shown)


def marked_running(heads: Iterable[EventHead], step_index: int) -> list[EventHead]:
    """The events, where that of the running step says that it runs: the store only says that its end is unknown."""
    running = ("run_repl", "mcp", step_index, "unknown")
    return [
        replace(head, row=replace(head.row, result_status="running", duration_ms=_age_ms(head.row.ts)))
        if (head.row.action, head.row.source, head.row.step_index, head.row.result_status) == running
        else head
        for head in heads
    ]


def summary_of(code: str) -> str:
    """The first `SUMMARY_CHARS` characters of some code, each line end as a space."""
    return _LINE_END.sub(" ", code[: 2 * SUMMARY_CHARS])[:SUMMARY_CHARS]


def _age_ms(moment: str) -> int:
    return max(0, int((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds() * 1000))


def _error(texts: Texts) -> dict[str, Any]:
    found = json.loads((texts.get("error") or b"{}")[:].decode("utf-8", "surrogatepass"))
    return found if isinstance(found, dict) else {}
