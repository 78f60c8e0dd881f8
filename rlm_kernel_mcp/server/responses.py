"""Turns what a session answered into what the client gets.

Is: the envelope, and the JSON object of each tool, field by field as the contract has them. Is not: text for reading
(`markdown.py`), nor any decision about what may be said (`session/` cuts and makes safe).
Above: `tools.py`. Below: `session/reports.py`, errors.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import accumulate
from typing import Any, Final

from mcp.types import CallToolResult, ContentBlock, ImageContent, TextContent

from rlm_kernel_mcp.errors import CitationMismatch, RlmError
from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.server.argument_types import MAX_OUTPUT_CHARS, ResponseFormat
from rlm_kernel_mcp.server.pages import pictures
from rlm_kernel_mcp.session import reports
from rlm_kernel_mcp.session.answering.questions import Answerer
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.functions.offered import HostFunction
from rlm_kernel_mcp.session.trace.reports import TraceEvent, TracePage
from rlm_kernel_mcp.text.safe_text import safe_text

FULL_FIELDS: Final = ("code", "stdout", "stderr", "result", "error")
"""Fields of a trace event that only `detail="full"` carries."""

NAMES_IF_ANY: Final = ("contexts_changed", "not_durable")
"""Fields of a step's report that are left out where they name nothing."""

UNKNOWN_YET: Final = (
    *("chars", "lines", "sha256", "head", "tail", "document_count"),
    *("held", "encodings", "undecodable_bytes"),
)
"""Fields of a context that is being loaded, which are null."""

SUBCALL_LIMITS: Final = ("max_subcalls", "subcall_tokens_limit", "wait_limit_ms")
"""Fields of a session's limits that mean something where somebody answers its questions."""

LIST_CHARS_MAX: Final = 8_000
"""Characters of an answer of `rlm_list_sessions`, in either form."""
LIST_FRAME_CHARS: Final = 200
"""Characters of them that are not rows."""


def opened(report: reports.Opened, form: ResponseFormat) -> CallToolResult:
    """Response of `rlm_init_context`."""
    if form == "markdown":
        return _reading(markdown.opened(report))
    data = _fields(report) | {"config": _fields(report.config), "counters": _counters(_fields(report.counters))}
    data |= _answerer(data.pop("answerer"), data["config"])
    data |= _offered(data.pop("host_functions"))
    data |= {"context": _context(report.context), "walls": [wall.name for wall in report.walls if wall.holds]}
    # What a wall is and does is prose for people: `rlm-kernel-mcp doctor`.
    missing = [{"name": wall.name, "reason": wall.detail} for wall in report.walls if not wall.holds]
    rest = ({"walls_missing": missing} if missing else {}) | _note(markdown.notice(report.context))
    return _envelope({"ok": True, "data": data | rest})


def _offered(functions: Sequence[HostFunction]) -> dict[str, Any]:
    rows = [_fields(one) for one in functions]
    return {"host_functions": rows} if rows else {}


def added(report: Added, form: ResponseFormat) -> CallToolResult:
    """Response of `rlm_add_context`."""
    if form == "markdown":
        return _reading(markdown.added(report))
    data = {"session_id": report.session_id, "context": _context(report.context), "namespace": report.namespace}
    return _envelope({"ok": True, "data": data | _note(markdown.notice(report.context))})


def step(report: reports.StepReport, form: ResponseFormat) -> CallToolResult:
    """Response of `rlm_run_repl`, `rlm_await_step`, `rlm_interrupt` and `rlm_answer`."""
    if form == "markdown":
        return _reading(markdown.step(report), _pictures(report))
    # Not asdict, here and below: it copies every value, of any depth and size.
    data = _fields(report)
    data["images"] = pictures.rows(report) or None
    for name in ("note", "questions", "rejected", "images", *NAMES_IF_ANY):
        if data[name] is None or (name in NAMES_IF_ANY and not data[name]):
            del data[name]
    if report.questions is not None:
        data["questions"] = _fields(report.questions) | {"items": [item.row() for item in report.questions.items]}
        del data["questions"]["taken_s"]
    if report.lost is not None:
        data["lost"] = _lost(report.lost)
    if report.error is not None:
        data["error"] = _fields(report.error)
    data["updated_vars_summary"] = [_fields(row) for row in report.updated_vars_summary]
    data["budget"], data["truncated"] = _fields(report.budget), _fields(report.truncated)
    if report.budget.subcalls_left is None:
        del data["subcalls"], data["budget"]["subcalls_left"], data["budget"]["subcall_tokens_left"]
    elif report.subcalls is not None:
        data["subcalls"] = _fields(report.subcalls)
    return _envelope({"ok": True, "data": data}, _pictures(report))


def variable(part: reports.VariableSlice, form: ResponseFormat) -> CallToolResult:
    """Response of `rlm_get_var`."""
    if form == "markdown":
        return _reading(markdown.variable(part))
    data = _fields(part)
    if part.note is None:
        del data["note"]
    return _envelope({"ok": True, "data": data})


def final(report: reports.FinalReport, form: ResponseFormat, max_chars: int = MAX_OUTPUT_CHARS) -> CallToolResult:
    """Response of `rlm_finalize`. `max_chars`: of the citations' own text too."""
    if form == "markdown":
        return _reading(markdown.final(report, max_chars))
    data = _fields(report) | {"stats": _fields(report.stats)}
    if report.citations is not None and report.coverage is not None:
        data |= Checked(report.citations, report.coverage).rows(max_chars)
    del data["cut_chars"]
    if hashes := data.pop("hashes"):
        data["contexts"] = [{"name": name, "sha256": digest} for name, digest in hashes.items()]
    if report.note is None:
        del data["note"]
    return _envelope({"ok": True, "data": data})


def trace(page: TracePage, form: ResponseFormat, detail: str, max_chars: int = MAX_OUTPUT_CHARS) -> CallToolResult:
    """Response of `rlm_get_trace`. `max_chars`: of the citations' own text too."""
    if form == "markdown":
        return _reading(markdown.trace(page, max_chars))
    events = [_event(event, detail, max_chars) for event in page.events]
    return _envelope({"ok": True, "data": {"events": events, "next_offset": page.next_offset} | _note(page.note)})


def sessions(found: reports.SessionList, form: ResponseFormat) -> CallToolResult:
    """Response of `rlm_list_sessions`."""
    written = markdown.session if form == "markdown" else _written_session
    found = _fitting(found, [len(written(row)) for row in found.rows])
    if form == "markdown":
        return _reading(markdown.sessions(found))
    data = {"sessions": list(map(_session, found.rows)), "omitted": found.omitted}
    note = " ".join(filter(None, (markdown.more_sessions(found), found.note)))
    return _envelope({"ok": True, "data": data | _note(note or None)})


def failure(error: RlmError, form: ResponseFormat) -> CallToolResult:
    """The answer to a request that was not served. Messages may echo any input, so they are made safe here."""
    message, next_step = safe_text(error.message), safe_text(error.next_step)
    if form == "markdown":
        text = markdown.failure(error.code, message, next_step)
        return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)
    citations = {"citations": list(error.citations)} if isinstance(error, CitationMismatch) else {}
    shown = {"code": error.code, "message": message, "next_step": next_step, **citations}
    return _envelope({"ok": False, "error": shown})


def _reading(text: str, blocks: Sequence[ContentBlock] = ()) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text), *blocks])


def _envelope(body: dict[str, Any], blocks: Sequence[ContentBlock] = ()) -> CallToolResult:
    """One text block of compact JSON and the same object as structuredContent; beside pictures, the text alone.

    Raises:
        ValueError: a value is not JSON or not Unicode, which the session's own checks exclude.
    """
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text.encode()
    # Some clients drop images when there is structuredContent.
    return CallToolResult(
        content=[TextContent(type="text", text=text), *blocks],
        structured_content=None if blocks else body,
        is_error=not body["ok"],
    )


def _pictures(report: reports.StepReport) -> list[ContentBlock]:
    return [ImageContent(type="image", data=one.data, mime_type=one.mime_type) for one in pictures.shown(report)]


def _context(report: ContextReport | LoadingReport) -> dict[str, Any]:
    """The contract's fields, and where bytes did not decode and what was left out where there is something to say."""
    if isinstance(report, LoadingReport):
        known = {"state": "loading", "documents": [], "changed": False}
        return _fields(report) | known | dict.fromkeys(UNKNOWN_YET)
    data = asdict(report)
    for name in ("undecodable_in", "skipped_first", "hints"):
        if not data[name]:
            del data[name]
    if report.prefix is None:
        del data["prefix"]
    return data


def _answerer(who: Answerer | None, config: dict[str, Any]) -> dict[str, Any]:
    """The field `subcalls`: who answers. Where nobody does there is none, and `config` has no limits of theirs."""
    limits = {name: config.pop(name) for name in SUBCALL_LIMITS}
    if who is None:
        return {}
    config |= limits
    names = ("backend", "model", "where", "parallel", "depth")
    return {"subcalls": {name: getattr(who, name) for name in names} | {"limits": limits, "how": who.how}}


def _note(note: str | None) -> dict[str, str]:
    """The field `note`, only where there is one."""
    return {} if note is None else {"note": note}


def _fields(shape: Any) -> dict[str, Any]:
    return {name: getattr(shape, name) for name in shape.__dataclass_fields__}


def _counters(fields: dict[str, Any]) -> dict[str, Any]:
    """Those of the contract, and the steps of child sessions where there are any."""
    if not fields["child_steps"]:
        del fields["child_steps"]
    return fields


def _lost(lost: reports.LossReport) -> dict[str, Any]:
    names = [{"name": name, "why": why} for name, why in lost.names]
    more = {kind: count for kind, count in (("lost", lost.more_lost), ("restored", lost.more_restored)) if count}
    omitted = {"omitted": more} if more else {}
    return {"reason": lost.reason, "lost": names, "restored": list(lost.restored), **omitted}


def _event(event: TraceEvent, detail: str, max_chars: int) -> dict[str, Any]:
    data = asdict(event)
    if evidence := data.pop("evidence"):
        data |= Checked.of_record(evidence).rows(max_chars)
    data |= data.pop("facts")
    del data["displays"]
    if detail != "full":
        for name in FULL_FIELDS:
            del data[name]
    if not event.contexts_changed:
        del data["contexts_changed"]
    return data


def _session(row: reports.SessionSummary) -> dict[str, Any]:
    data = asdict(row)
    digest, loading = data.pop("sha256"), data.pop("loading")
    _counters(data["counters"])
    if row.parent is None:
        del data["parent"], data["depth"]
    for name in ("waits_for_answers", "ended"):
        if not data[name]:
            del data[name]
    # For people: in the words of one client they would be read by the models of all others.
    del data["question"], data["client"]
    more = {"sha256": digest} if digest else {}
    more |= {"changed": True} if data.pop("changed") else {}
    if loading:
        more |= {"state": "loading", "loaded_bytes": loading["loaded_bytes"], "bytes": loading["bytes"]}
    data["context"] = {key: data.pop(key) for key in ("kind", "chars")} | more
    return data


def _written_session(row: reports.SessionSummary) -> str:
    return json.dumps(_session(row), ensure_ascii=False, separators=(",", ":"))


def _fitting(found: reports.SessionList, lengths: Sequence[int]) -> reports.SessionList:
    """As many rows as the answer has room for; the others are counted."""
    ends = accumulate(length + 1 for length in lengths)
    room = LIST_CHARS_MAX - LIST_FRAME_CHARS - len(json.dumps(found.note))
    fitting = sum(end <= room for end in ends)
    return replace(found, rows=found.rows[:fitting], omitted=found.omitted + len(found.rows) - fitting)
