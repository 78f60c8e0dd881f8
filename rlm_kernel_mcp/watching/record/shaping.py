"""An event of the record as the live page gets it.

Is: pure functions from a row, its texts and its displays to `Event`, everything raw and within its bound. Is not: which
events (`news.py`), nor what was searched and delivered (`maps.py`). Above: `history.py`. Below: `texts.py`,
`questions.py`, `evidence.py`, `session/trace/events.py`, `session/trace/rows.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.exploring import use_of
from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.kernel.untrusted.shown.displays import PICTURES
from rlm_kernel_mcp.session.trace.batches import ACTION as QUESTIONS
from rlm_kernel_mcp.session.trace.displayed import NOT_DISPLAYED
from rlm_kernel_mcp.session.trace.events import EVIDENCE, Texts, extra_of
from rlm_kernel_mcp.session.trace.facts import FACTS
from rlm_kernel_mcp.session.trace.rows import updated_of
from rlm_kernel_mcp.store.displays import DisplayRow
from rlm_kernel_mcp.store.store import EventHead, EventRow
from rlm_kernel_mcp.text.surrogates import decoded
from rlm_kernel_mcp.text.wording import NOT_KEPT, counted
from rlm_kernel_mcp.watching.messages.events import (
    NAMES_MAX,
    SOURCES_MAX,
    ErrorText,
    Event,
    ImageRef,
    Kind,
    Used,
    Variable,
)
from rlm_kernel_mcp.watching.record.evidence import cited
from rlm_kernel_mcp.watching.record.questions import asked
from rlm_kernel_mcp.watching.record.texts import cut, error_in, shown_text

KINDS: Final[Mapping[str, Kind]] = {
    "init_context": "opened",
    "run_repl": "step",
    "interrupt": "interrupt",
    "restore": "restore",
    "stop": "stop",
    QUESTIONS: "subcalls",
    "add_context": "context_added",
    "refused": "refused",
    "finalize": "final",
}
"""What a row's action is called. A row of another is none that this version knows."""
ANSWER_CHARS: Final = 32_000
SUMMARY_CHARS: Final = 1_000
NAME_CHARS: Final = 200
WHY_CHARS: Final = 300
NOTE_CHARS: Final = 2_000
NO_ROOM: Final = "the session has displayed as much as is kept of one"
DAMAGED: Final = "it is not what was written"
SVG: Final = "image/svg+xml"
NOT_RUN: Final[Mapping[str, str]] = {
    "max_steps": "no step is left",
    "timeout": "no runtime is left",
    "budget_exceeded": "no characters are left",
}
"""Why a limit refuses a step."""


def event_of(head: EventHead, texts: Texts, displays: Sequence[DisplayRow] = ()) -> Event | None:
    """The event of a row; None of one that this version does not know.

    Raises:
        SessionNotFound: a final answer in pages is damaged.
    """
    row = head.row
    kind = KINDS.get(row.action)
    if kind is None:
        return None
    extra = extra_of(row)
    facts = extra.get(FACTS)
    facts = facts if isinstance(facts, dict) else {}
    event: Event = {
        "id": str(row.id),
        "type": kind,
        "ts": row.ts,
        "step": row.step_index,
        "status": row.result_status,
        "source": "console" if row.source == "console" else "mcp",
        "summary": row.summary[:SUMMARY_CHARS],
        "ms": row.duration_ms,
        "used": used_of(row),
        "cost": (count_of(facts.get("cost")) or 0),
    }
    _add_facts(event, facts)
    match kind:
        case "subcalls":
            event.update(asked(texts))  # type: ignore[typeddict-item]
        case "final":
            _add_answer(event, texts, extra)
        case "step":
            _add_step(event, row, texts, extra)
            if displays:
                event["images"] = images_of(row.id or 0, displays)
        case "restore":
            _add_names(event, facts)
        case "refused":
            _add_refusal(event, row, facts)
        case _:
            pass
    return event


def used_of(row: EventRow) -> Used:
    """What is used of the limits by then."""
    return counted_as(row, ("step_index", "runtime_ms", "budget_used", "subcalls", "subcall_tokens"))


def limits_of(row: EventRow) -> Used:
    """The limits, as the row of an event says them."""
    return counted_as(row, ("max_steps", "max_runtime_ms", "budget_limit", "max_subcalls", "subcall_tokens_limit"))


def counted_as(row: EventRow, names: tuple[str, str, str, str, str]) -> Used:
    """Counters of the row's account by those names."""
    found = json.loads(row.guardrail_snapshot or "{}")
    steps, runtime, chars, calls, tokens = ((count_of(found.get(name)) or 0) for name in names)
    children = (count_of(found.get("child_steps")) or 0) if names[0] == "step_index" else 0
    used: Used = {"steps": steps + children, "runtime_ms": runtime, "chars": chars}
    if names[3] in found:
        used["subcalls"], used["subcall_tokens"] = calls, tokens
    return used


def images_of(event_id: int, displays: Sequence[DisplayRow]) -> list[ImageRef]:
    """What a step displayed, each with what asks for it, and what is no picture with its source."""
    found = [_image(event_id, number, row) for number, row in enumerate(displays)]
    texts = [number for number, row in enumerate(displays) if row.data is not None and not is_picture(row.mime_type)]
    for number in texts[:SOURCES_MAX]:
        found[number]["source"] = cut(decoded(displays[number].data or b""))
    return found


def is_picture(mime_type: str) -> bool:
    """Whether it may be shown as one. An SVG may be none for a browser that would come to no end (`pieces.py`)."""
    return mime_type in PICTURES or mime_type == SVG


def _image(event_id: int, number: int, row: DisplayRow) -> ImageRef:
    found: ImageRef = {"mime": row.mime_type, "bytes": row.size_bytes, "place": row.place}
    if row.data is None:
        found["why"] = DAMAGED if row.is_damaged else NO_ROOM
    else:
        found["sha"] = f"{event_id}-{number}"
    return found


def _add_step(event: Event, row: EventRow, texts: Texts, extra: Mapping[str, Any]) -> None:
    shown = {name: shown_text(texts.get(name)) for name in ("code", "stdout", "stderr", "result")}
    event.update({name: text for name, text in shown.items() if text is not None})  # type: ignore[typeddict-item]
    if (error := _error(texts)) is not None:
        event["error"] = error
    names = updated_of(row)
    if names:
        event["changed"] = [_variable(name.name, name.type, name.size) for name in names[:NAMES_MAX]]
        event["more_changed"] = max(len(names) - NAMES_MAX, 0)
    if note := " ".join([*_notes(extra), *_not_kept(extra)])[:NOTE_CHARS]:
        event["note"] = note
    if functions := use_of(extra).functions:
        event["functions"] = dict(functions)


def _variable(name: str, kind: str, size: int | None) -> Variable:
    return {"name": name[:NAME_CHARS], "type": kind[:NAME_CHARS], "size": size}


def _error(texts: Texts) -> ErrorText | None:
    found = error_in(texts)
    if not found:
        return None
    name, value, traceback = (str(found.get(key) or "") for key in ("ename", "evalue", "traceback"))
    return {"ename": name[:NAME_CHARS], "evalue": value[:SUMMARY_CHARS], "traceback": cut(traceback)}


def _notes(extra: Mapping[str, Any]) -> Iterator[str]:
    """What the client was told beside the texts of a step."""
    dropped = extra.get("dropped")
    for name, count in dropped.items() if isinstance(dropped, dict) else ():
        if chars := (count_of(count) or 0):
            yield f"{counted(chars, 'character')} of {str(name)[:NAME_CHARS]} are not kept: there were too many."
    if chars := (count_of(extra.get("late_chars")) or 0):
        yield f"The first {counted(chars, 'character')} of output were printed before this step began."
    changed = extra.get("contexts_changed")
    if isinstance(changed, list) and changed:
        yield f"The files of {', '.join(str(name)[:NAME_CHARS] for name in changed[:8])} have changed since."
    if isinstance(news := extra.get("news"), str) and news:
        yield news


def _not_kept(extra: Mapping[str, Any]) -> Iterator[str]:
    """What it displayed and the record has not got."""
    facts = extra.get(FACTS)
    found = facts.get(NOT_DISPLAYED) if isinstance(facts, dict) else None
    for why, count in found.items() if isinstance(found, dict) else ():
        if number := (count_of(count) or 0):
            reason = NOT_KEPT.get(str(why), str(why)[:NAME_CHARS])
            yield f"{counted(number, 'display')} {'is' if number == 1 else 'are'} not kept: {reason}."


def _add_facts(event: Event, facts: Mapping[str, Any]) -> None:
    """What the row says beside its texts, whatever the event is."""
    printed = facts.get("printed")
    if isinstance(printed, dict):
        event["printed"] = {str(name)[:NAME_CHARS]: (count_of(count) or 0) for name, count in printed.items()}
    if "delivered" in facts:
        event["given"] = count_of(facts["delivered"]) or 0
    for name in ("rung", "cause", "limit", "error_code"):
        if isinstance(value := facts.get(name), str):
            event[name] = value[:NAME_CHARS]


def _add_names(event: Event, facts: Mapping[str, Any]) -> None:
    """Of a restore: what is gone, and what is back."""
    lost = [one for one in _rows(facts, "lost") if isinstance(one, dict)]
    event["lost"] = [
        {"name": str(one.get("name"))[:NAME_CHARS], "why": str(one.get("why"))[:WHY_CHARS]} for one in lost[:NAMES_MAX]
    ]
    restored = _rows(facts, "restored")
    event["restored"] = [str(name)[:NAME_CHARS] for name in restored[:NAMES_MAX]]
    event["more_lost"] = (count_of(facts.get("more_lost")) or 0) + max(len(lost) - NAMES_MAX, 0)
    event["more_restored"] = (count_of(facts.get("more_restored")) or 0) + max(len(restored) - NAMES_MAX, 0)


def _add_refusal(event: Event, row: EventRow, facts: Mapping[str, Any]) -> None:
    """Of a step that a limit refused the record has the beginning of its code, as the row's summary."""
    if isinstance(message := facts.get("message"), str):
        event["note"] = message[:NOTE_CHARS]
    elif (chars := count_of(facts.get("code_chars"))) is not None:
        why = NOT_RUN.get(str(facts.get("limit")), "a limit is reached")
        kept = row.summary[:SUMMARY_CHARS]
        rest = f" Of its {counted(chars, 'character')} of code the record has the first {len(kept):,}."
        event["note"] = f"This step was not run: {why}.{rest if chars > len(kept) else ''}"
        event["code"] = {"text": kept, "chars": chars, "lines": 1}
    if citations := [one for one in _rows(facts, "citations") if isinstance(one, dict)]:
        event["citations"] = citations
        event["more_citations"] = count_of(facts.get("more_citations")) or 0


def _add_answer(event: Event, texts: Texts, extra: Mapping[str, Any]) -> None:
    event["answer"] = shown_text(texts.get("result"), ANSWER_CHARS) or {"text": "", "chars": 0, "lines": 0}
    event["reason"] = event["status"]
    event.update(cited(extra.get(EVIDENCE)))  # type: ignore[typeddict-item]


def _rows(facts: Mapping[str, Any], name: str) -> list[Any]:
    """A list of the facts; an empty one where there is none."""
    return found if isinstance(found := facts.get(name), list) else []
