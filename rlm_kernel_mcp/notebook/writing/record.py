"""A session's notebook, written from its record.

Is: what is read of the store, and the whole file as one JSON value. Is not: a request to a kernel, nor a check by
nbformat, which the tests make (decision 0122). It reads, so call it in a thread or a command. Above:
`commands/trace.py`. Below: `events.py`, `answers.py`, `notebook/form/sources.py`, `session/trace/reading.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.context_wire import Claim
from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.kernel.untrusted.exploring import use_of
from rlm_kernel_mcp.notebook.form.names import FORMAT, KERNEL, KEY, LANGUAGE, ClaimFacts, NotebookFacts, SourceRow
from rlm_kernel_mcp.notebook.form.outputs import Json
from rlm_kernel_mcp.notebook.form.sources import row_of
from rlm_kernel_mcp.notebook.writing.answers import subcalls_of
from rlm_kernel_mcp.notebook.writing.events import CLAIMS, LATE, RUNGS, STOPPED, Cells
from rlm_kernel_mcp.session.contexts.contexts import SessionContext, contexts_of
from rlm_kernel_mcp.session.evidence.annotations import annotations_of
from rlm_kernel_mcp.session.evidence.citations import EXACT_CHARS, Checked
from rlm_kernel_mcp.session.functions.offered import of_record
from rlm_kernel_mcp.session.seen.maps import SeenMap
from rlm_kernel_mcp.session.trace.batches import ACTION as QUESTIONS
from rlm_kernel_mcp.session.trace.events import EVIDENCE, Texts, extra_of, whole_event
from rlm_kernel_mcp.session.trace.reading import seen_of, with_displays, with_questions, with_seen
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.store.reading import damaged_record
from rlm_kernel_mcp.store.store import EventHead, EventRow, SessionRecord, Store
from rlm_kernel_mcp.text.safe_text import safe_text

T = TypeVar("T")
REFUSED: Final = "refused"
"""Key in a row's `extra`: its step was answered with an error, and never ran."""


def notebook_of(store: Store, session_id: str) -> tuple[Json, int]:
    """The notebook, and how many of the record's events are damaged, and so not in it.

    Raises:
        SessionNotFound: there is no such session, or its record is damaged.
    """
    record = store.session(session_id, whole=False)
    if record is None:
        raise SessionNotFound(f"There is no session {session_id}.")
    asked = with_questions(store, session_id, (None, None), full=False)
    try:
        facts = _facts(store, record, asked.heads)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged_record(session_id) from error
    damaged, seen = asked.heads.damaged, seen_of(store, session_id)
    was_restored = any(head.row.action == "restore" for head in asked.heads)
    rungs = dict(_rungs(head.row for head in asked.heads))
    cells = Cells(facts, subcalls_of(store, session_id), was_restored, rungs)
    found = cells.first()
    for head in asked.heads:
        is_step_s = head.row.action == QUESTIONS  # what was asked is in its step's cell, from `answers.py`
        texts: Texts | None = {} if is_step_s else asked.texts(head)
        try:
            event = None if texts is None else _event(_whole(store, head, texts, seen), extra_of(head.row), rungs)
        except SessionNotFound:  # pages of a final answer
            event = None
        if event is None:
            damaged += 1
        else:
            found += cells.of(event)
    title = f"Session {session_id}"
    metadata = {"title": title, "kernelspec": dict(KERNEL), "language_info": dict(LANGUAGE), KEY: facts}
    return {"cells": found, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, damaged


def text_of(notebook: Json) -> Iterator[str]:
    """Its file, in pieces. In ASCII: a lone surrogate, which UTF-8 cannot have, is written as JSON's escape."""
    yield from json.JSONEncoder(indent=1).iterencode(notebook)
    yield "\n"


def _whole(store: Store, head: EventHead, texts: Texts, seen: SeenMap) -> TraceEvent:
    """An event with its texts raw, and with what was displayed and seen. Raises: SessionNotFound, as `whole_event`."""
    return with_displays(store, head, with_seen(head, whole_event(head, texts, str), seen))


def _rungs(rows: Iterable[EventRow]) -> Iterator[tuple[int, str]]:
    """Of steps that did not end by themselves what they were sent, the last of it last."""
    for row in rows:
        if row.action == "interrupt" and (rung := row.summary.partition(" ")[0]) in RUNGS:
            yield row.step_index, rung


def _event(event: TraceEvent, extra: dict[str, Any], rungs: Mapping[int, str]) -> TraceEvent:
    """As the notebook has it: a step that never ran is no cell that could run again."""
    if event.action != "run_repl":
        return event
    if event.source == "mcp" and event.result_status in STOPPED and event.step_index not in rungs:
        return replace(event, action="interrupt")  # it was given up before its code began
    more: dict[str, Any] = {LATE: True} if extra.get("late_chars") else {}
    if claims := use_of(extra).claims:
        more[CLAIMS] = [_claim(one) for one in claims]
    return replace(event, action="refused" if REFUSED in extra else event.action, facts=event.facts | more)


def _claim(one: Claim) -> ClaimFacts:
    context, document = safe_text(one.context), safe_text(one.document)
    return {"mark": f"c{one.number}", "context": context, "document": document, "start": one.start, "end": one.end}


def _facts(store: Store, record: SessionRecord, heads: Iterable[EventHead]) -> NotebookFacts:
    reference = json.loads(record.context_ref)
    facts: NotebookFacts = {
        "format": FORMAT,
        "version": __version__,
        "session_id": record.session_id,
        "created_at": record.created_at,
        "question": None if record.question is None else safe_text(record.question),
        "client": None if record.client is None else safe_text(record.client),
        "status": record.status,
        "finish_reason": record.finish_reason,
        "limits": json.loads(record.limits),
        "used": json.loads(record.counters or "{}"),
        "walls": [str(row["name"]) for row in json.loads(record.walls) if row.get("holds")],
        "contexts": [*_contexts(store, record.session_id, contexts_of(json.loads(record.context), reference))],
        "functions": [one.name for one in of_record(reference)],
    }
    if (checked := _checked(heads)) is not None:
        rows = checked.rows(EXACT_CHARS)
        facts["citations"], facts["coverage"] = rows["citations"], rows["coverage"]
        facts["annotations"] = _without_surrogates(annotations_of(record.session_id, record.finished_at or "", checked))
    return facts


def _without_surrogates(found: T) -> T:
    """A program that writes the notebook anew writes UTF-8; `trace --annotations` has them as they are."""
    made: T = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return made


def _contexts(store: Store, session_id: str, contexts: list[SessionContext]) -> Iterator[SourceRow]:
    for one in contexts:
        if one.report is None:  # it never came
            continue
        data = None if one.source.paths is not None else store.context(session_id, one.in_store)
        text = None if data is None else data.decode("utf-8", "surrogatepass")
        yield _without_surrogates(row_of(one.source, one.report, one.at_step, text))


def _checked(heads: Iterable[EventHead]) -> Checked | None:
    """What the final answer cites."""
    for head in heads:
        if head.row.action == "finalize" and (found := extra_of(head.row).get(EVIDENCE)):
            return Checked.of_record(found)
    return None
