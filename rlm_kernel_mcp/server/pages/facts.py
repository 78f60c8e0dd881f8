"""What is known of an event of the trace beside its texts, in words: costs, causes, names that are gone.

Is: lines for a person. Is not: the facts themselves (`session/trace/facts.py`), which come safe. Above:
`server/markdown.py`. Below: `text/markup.py`, `text/wording.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rlm_kernel_mcp.text.markup import code
from rlm_kernel_mcp.text.wording import NOT_KEPT, counted

CAUSES: Final[Mapping[str, str]] = {
    "interrupt": "somebody asked for its end",
    "timeout_ms": "the step's time limit",
    "max_runtime_ms": "the end of the session's max_runtime_ms",
    "step_cpu_s": "the limit of a step's processor time",
}


def told(facts: Mapping[str, Any]) -> list[str]:
    """The lines; none of facts that this version does not know."""
    return [*_costs(facts), *_displays(facts), *_causes(facts), *_names(facts), *_refused(facts)]


def _costs(facts: Mapping[str, Any]) -> Iterator[str]:
    if "cost" in facts:
        printed = ", ".join(f"{count:,} of {name}" for name, count in facts.get("printed", {}).items())
        given = f"delivered {counted(facts.get('delivered', 0), 'character')}, recorded {printed or 'none'}"
        yield f"{given}; cost {counted(facts['cost'], 'character')}"


def _displays(facts: Mapping[str, Any]) -> Iterator[str]:
    if kept := facts.get("displayed"):
        yield f"displayed: {', '.join(f'{count:,} {mime_type}' for mime_type, count in kept.items())}"
    for why, count in facts.get("not_displayed", {}).items():
        yield f"not kept of what it displayed: {count:,} ({NOT_KEPT.get(why, why)})"


def _causes(facts: Mapping[str, Any]) -> Iterator[str]:
    if "cause" in facts:
        yield f"why: {CAUSES.get(facts['cause'], facts['cause'])}"


def _names(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"- gone: {code(one['name'])} ({code(one['why'])})" for one in facts.get("lost", ()))
    if more := facts.get("more_lost"):
        yield f"- gone: {counted(more, 'more name')}"
    back = [code(name) for name in facts.get("restored", ())]
    back += [counted(more, "more name")] if (more := facts.get("more_restored")) else []
    if back:
        yield f"- restored: {', '.join(back)}"


def _refused(facts: Mapping[str, Any]) -> Iterator[str]:
    if "code_chars" in facts:
        yield f"not run, {counted(facts['code_chars'], 'character')} of code: the limit {facts.get('limit')} is reached"
    for one in facts.get("citations", ()):
        nearest = one.get("nearest")
        place = "" if nearest is None else _place(nearest)
        yield f"- {one['id']}: {one['status']}: {code(one.get('text') or 'text left out')}{place}"
    if more := facts.get("more_citations"):
        yield f"- {counted(more, 'more citation')} that failed"


def _place(nearest: Mapping[str, Any]) -> str:
    where = f"{nearest.get('path') or nearest.get('doc')}:{nearest.get('start_line')}"
    return f"; nearest {code(where)}, {nearest.get('similarity', 0):.0%}"
