"""What a session answered, as text made for reading.

Is: one page per tool: a status line, fenced texts, what is left of the limits. Is not: JSON, or cutting (the
texts come cut and safe). Text from a kernel or a context stands inside a fence or a code span that it cannot close,
or is one plain word.
Above: `responses.py`. Below: `session/reports.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Final

from rlm_kernel_mcp.server.pages import facts, pictures
from rlm_kernel_mcp.server.pages.footnotes import evidence
from rlm_kernel_mcp.server.pages.questions import asked, subcalls, who_is_asked
from rlm_kernel_mcp.session import reports
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.trace.reports import TraceEvent, TracePage
from rlm_kernel_mcp.text.markup import code, fenced, word
from rlm_kernel_mcp.text.wording import NOTHING_INTERRUPTED, NOTHING_LEFT_TO_INTERRUPT, counted, state_more, used_words
from rlm_kernel_mcp.wire import DOCUMENTS_LISTED

STATUS_LINES = {
    "ok": "Step {index}: ok in {ms} ms.",
    "error": "Step {index}: raised an exception after {ms} ms.",
    "timeout": "Step {index}: interrupted after {ms} ms, its time limit.",
    "interrupted": "Step {index}: interrupted after {ms} ms.",
    "running": "Step {index}: still running after {ms} ms. Go on waiting with rlm_await_step "
    "(step_index {index}), or stop it with rlm_interrupt.",
    "needs_answers": "Step {index}: its code asks the questions below; answer them with rlm_answer.",
    "kernel_died": "Step {index}: the kernel died after {ms} ms.",
    "unknown": "Step {index}: its node was lost; whether it ran is not known, and it is not run again.",
    "stopped": "Nothing was run.",
}
NOT_DURABLE: Final = "Not durable yet, and lost if this node is lost now"
HELD: Final = {
    "memory": "held in memory",
    "mapped": "mapped from its file",
    "spooled": "mapped from a file that the server wrote",
}
"""Where a context's text is."""


def opened(report: reports.Opened) -> str:
    """Page of `rlm_init_context`."""
    missing = [wall for wall in report.walls if not wall.holds]
    parts = [
        f"Session {code(report.session_id)} is open.",
        *_context(report.context),
        *filter(None, [notice(report.context)]),
        "Names in the kernel:\n" + "\n".join(f"- {code(name)}: {line}" for name, line in report.namespace.items()),
        "Importable: " + (", ".join(report.imports) if report.imports != ("*",) else "every installed module") + ".",
        "Walls that hold: " + ", ".join(wall.name for wall in report.walls if wall.holds) + ".",
        *(f"Wall that does not hold: {wall.name} ({wall.detail})." for wall in missing),
        *who_is_asked(report),
        _limits(report.config),
    ]
    return "\n\n".join(parts)


def added(report: Added) -> str:
    """Page of `rlm_add_context`."""
    names = "\n".join(f"- {code(name)}: {line}" for name, line in report.namespace.items())
    said = filter(None, [notice(report.context)])
    return "\n\n".join([*_context(report.context), *said, f"New in the kernel:\n{names}"])


def notice(report: ContextReport | LoadingReport) -> str | None:
    """What is to be said of a context beside its fields: that there is no text, or that not all names are listed."""
    if isinstance(report, LoadingReport):
        return None
    empty = "" if report.chars else "The context is empty: its documents hold no character. Check what was given."
    listed, first = len(report.documents), min(report.document_count, DOCUMENTS_LISTED)
    cut = f"{listed} of the first {first} documents are named here, for their names are long; list(documents) has all."
    return " ".join(filter(None, (empty, cut if listed < first else ""))) or None


def step(report: reports.StepReport) -> str:
    """Page of `rlm_run_repl`, `rlm_await_step`, `rlm_interrupt` and `rlm_answer`."""
    status = STATUS_LINES[report.status].format(index=report.step_index, ms=f"{report.duration_ms:,}")
    parts = [] if report.note in (NOTHING_INTERRUPTED, NOTHING_LEFT_TO_INTERRUPT) else [status]
    parts += _labelled("stdout", report.stdout) + _labelled("stderr", report.stderr)
    parts += _labelled("result", report.result or "")
    if report.error is not None:
        parts += _labelled(word(report.error.ename), report.error.traceback or report.error.evalue)
    parts += pictures.said(report)
    if report.updated_vars_summary:
        bound = ", ".join(
            f"{code(name.name)} ({word(name.type)}{'' if name.size is None else f', {name.size:,}'})"
            for name in report.updated_vars_summary
        )
        parts.append(f"Bound: {bound}.")
    parts += _cuts(report)
    if report.lost is not None:
        parts.append(_lost(report.lost))
    parts += asked(report.questions, report.rejected)
    if report.subcalls is not None:
        parts.append(subcalls(report.subcalls))
    if report.note is not None:
        parts.append(report.note)
    named = (("Changed on disk since it was loaded", report.contexts_changed), (NOT_DURABLE, report.not_durable))
    parts += [f"{what}: {', '.join(map(code, names))}." for what, names in named if names]
    if report.guardrail_stop is not None and report.status != "stopped":
        parts.append(
            f"Stopped by {report.guardrail_stop}: no further step runs; "
            "rlm_get_var, rlm_get_trace and rlm_finalize still work."
        )
    parts.append(_left(report.budget))
    return "\n\n".join(parts)


def variable(part: reports.VariableSlice) -> str:
    """Page of `rlm_get_var`."""
    size = "" if part.size is None else f", size {part.size:,}"
    head = f"{code(part.name)} is {word(part.type)}{size}; "
    if not part.text:
        return f"{head}the whole value as JSON:\n\n{fenced(json.dumps(part.value, ensure_ascii=False), 'json')}"
    end = part.offset + len(part.value)
    head += f"characters {part.offset:,} to {end:,} of {part.total_chars:,}:"
    rest = "" if part.next_offset is None else f"\n\nThe rest: rlm_get_var with offset {part.next_offset}."
    rest += f"\n\n{part.note}" if part.note else ""
    return f"{head}\n\n{fenced(part.value)}{rest}"


def final(report: reports.FinalReport, max_chars: int) -> str:
    """Page of `rlm_finalize`. `max_chars`: of all footnotes."""
    stats = report.stats
    shown = report.final_answer_chars - report.cut_chars
    cut = f", {counted(shown, 'character')} of it shown" if report.cut_chars else ""
    head = (
        f"Final answer ({counted(report.final_answer_chars, 'character')}{cut}); finish reason: {report.finish_reason}."
    )
    used = f"{counted(stats.steps, 'step')}, {stats.runtime_ms:,} ms of run time"
    used += f", {counted(stats.budget_used, 'character')}"
    used = f"Used: {used}; from {stats.started_at} to {stats.finished_at}."
    hashes = [f"SHA-256 of {code(name)}: {digest}." for name, digest in report.hashes.items()]
    cites = []
    if report.citations is not None and report.coverage is not None:
        cites = evidence(report.citations, report.coverage, max_chars)
    notes = [report.note] if report.note else []
    return "\n\n".join([head, fenced(report.final_answer), *notes, *cites, used, *hashes])


def trace(page: TracePage, max_chars: int, rest: str = "rlm_get_trace with offset {}") -> str:
    """Page of `rlm_get_trace`. `max_chars`: of all footnotes. `rest`: what gives the rest, from a place on."""
    parts = [event(one, max_chars) for one in page.events] or ["No events in this range."]
    parts += [page.note] if page.note else []
    if page.next_offset is not None:
        parts.append(f"The rest: {rest.format(page.next_offset)}.")
    return "\n\n".join(parts)


def sessions(found: reports.SessionList) -> str:
    """Page of `rlm_list_sessions`."""
    none = 'No sessions are live. rlm_init_context opens one; state="all" lists ended ones.'
    none = f"There are no sessions after the first {found.offset:,}." if found.offset else none
    notes = filter(None, (more_sessions(found), found.note))
    return "\n".join([*([] if found.rows else [none]), *map(session, found.rows), *notes])


def more_sessions(found: reports.SessionList) -> str:
    """How many are not listed, and what lists them; nothing where none is left."""
    if not found.omitted:
        return ""
    return f"{found.omitted:,} more, used longer ago: offset={found.goes_on} goes on."


def session(row: reports.SessionSummary) -> str:
    """One line of it."""
    return (
        f"- {code(row.session_id)}: {row.status}{_waits(row)}; {_size(row)}; "
        f"{_used(row.counters)}; created {row.created_at}, last used {row.last_used_at}{_WHOSE[row.connection]}"
        f"{'' if row.parent is None else f'; child of {code(row.parent)}'}"
    )


def _waits(row: reports.SessionSummary) -> str:
    return state_more(row.waits_for_answers, row.ended)


_WHOSE: Final = {"this": "", "other": "; another client's", None: ""}


def _size(row: reports.SessionSummary) -> str:
    if row.loading is not None:
        return f"{row.kind}, {row.loading.loaded_bytes:,} of {counted(row.loading.bytes, 'byte')} loaded"
    if row.chars is None:
        return f"{row.kind} that is not loaded yet"
    return f"{row.kind} of {counted(row.chars, 'character')}{', changed on disk since' if row.changed else ''}"


def failure(error_code: str, message: str, next_step: str) -> str:
    """Page of a request that was not served."""
    return f"{error_code}: {message}\n\nNext: {next_step}"


def _labelled(label: str, text: str) -> list[str]:
    return [f"{label}:\n{fenced(text)}"] if text else []


def _context(report: ContextReport | LoadingReport) -> Iterator[str]:
    if isinstance(report, LoadingReport):
        yield (
            f"Context {code(report.name)} is being loaded: {report.loaded_bytes:,} of {counted(report.bytes, 'byte')} "
            "by now. The next step waits for it."
        )
        return
    documents = f" in {counted(report.document_count, 'document')}" if report.kind == "documents" else ""
    called = "" if report.name == "context" else f" {code(report.name)}"
    below = f" Names are those below {code(report.prefix)}." if report.prefix is not None else ""
    yield (
        f"Context{called}: {counted(report.chars, 'character')}{documents}, {counted(report.lines, 'line')}, "
        f"{counted(report.bytes, 'byte')}, sha256 {report.sha256 or 'not made yet'}; {HELD[report.held]}.{below}"
    )
    if report.documents:
        more = report.document_count - len(report.documents)
        lines = [f"- {code(document.name)}: {counted(document.chars, 'character')}" for document in report.documents]
        yield "\n".join(lines + ([f"- and {more:,} more"] if more > 0 else []))
    if report.undecodable_bytes:
        where = ", ".join(f"{code(name)} ({count:,})" for name, count in report.undecodable_in.items())
        yield f"Bytes that do not decode, kept as escapes: {report.undecodable_bytes:,}, in {where}."
    if report.skipped:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in report.skipped.items())
        yield f"Left out: {counts} (such as {', '.join(code(line) for line in report.skipped_first)})."
    yield from report.hints
    yield f"{'It begins' if report.tail else 'It is'}:\n{fenced(report.head)}"
    if report.tail:
        yield f"It ends:\n{fenced(report.tail)}"


def _cuts(report: reports.StepReport) -> list[str]:
    counts = (
        ("stdout", report.truncated.stdout),
        ("stderr", report.truncated.stderr),
        ("result", report.truncated.result),
    )
    told = report.note or ""  # a cut with no room to say where the rest is stands there
    cuts = [
        part for name, count in counts if count and (part := f"{counted(count, 'character')} of {name}") not in told
    ]
    return [f"Cut from this answer: {', '.join(cuts)}."] if cuts else []


def _lost(lost: reports.LossReport) -> str:
    lines = [f"The kernel was replaced: {lost.reason}."]
    lines += [f"- gone: {code(name)} ({code(why)})" for name, why in lost.names]
    if lost.more_lost:
        lines.append(f"- gone: {counted(lost.more_lost, 'more name')}")
    if lost.restored or lost.more_restored:
        more = [counted(lost.more_restored, "more name")] if lost.more_restored else []
        lines.append("- restored: " + ", ".join([*map(code, lost.restored), *more]))
    return "\n".join(lines)


def event(event: TraceEvent, max_chars: int = sys.maxsize) -> str:
    """One event of it. `max_chars`: of all footnotes."""
    head = (
        f"{event.ts} step {event.step_index} {event.action} ({event.source}): {event.result_status}, "
        f"{event.duration_ms:,} ms{used_words(event.guardrail_snapshot)}"
    )
    head += f"; changed on disk: {', '.join(map(code, event.contexts_changed))}" if event.contexts_changed else ""
    if event.functions:
        head += f"; called {', '.join(f'{name} {count:,}' for name, count in event.functions.items())}"
    parts = [head] + ([fenced(event.summary)] if event.summary and not event.code else [])
    printed = "questions" if event.action == "subcalls" else "stdout"
    texts = (("code", event.code), (printed, event.stdout), ("stderr", event.stderr), ("result", event.result))
    for label, text in texts:
        parts += _labelled(label, text or "")
    if event.error is not None:
        parts += _labelled(word(event.error.ename), event.error.traceback or event.error.evalue)
    parts += facts.told(event.facts)
    if event.evidence:
        checked = Checked.of_record(event.evidence)
        parts += evidence(checked.citations, checked.coverage, max_chars)
    return "\n".join(parts)


def _left(left: reports.Left) -> str:
    steps, chars = counted(left.steps_left, "step"), counted(left.chars_left, "character")
    asks = "" if left.subcalls_left is None else f", {counted(left.subcalls_left, 'sub-call')}"
    return f"Left: {steps}, {left.runtime_left_ms:,} ms of run time, {chars}{asks}."


def _limits(limits: reports.Guardrails) -> str:
    return (
        f"Limits: {counted(limits.max_steps, 'step')}, {limits.max_runtime_ms:,} ms of run time in total, "
        f"{limits.step_timeout_ms:,} ms for a step, {counted(limits.budget_limit, 'character')}."
    )


def _used(counters: reports.Counters) -> str:
    steps, chars = counters.step_index + counters.child_steps, counted(counters.budget_used, "character")
    return f"{counted(steps, 'step')}, {counters.runtime_ms:,} ms, {chars} used"
