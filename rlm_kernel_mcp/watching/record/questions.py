"""Questions that a session's code asked together, as the live page gets them.

Is: the text that the trace has of a batch, a line of JSON each, to rows with a bound. Is not: the batch
(`session/trace/batches.py`). Above: `shaping.py`. Below: `watching/messages/events.py`, `text/surrogates.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.session.trace.events import Texts
from rlm_kernel_mcp.text.surrogates import decoded
from rlm_kernel_mcp.watching.messages.events import CALLS_MAX, SubCall


def asked(texts: Texts) -> dict[str, Any]:
    """`calls`, `more` and `tokens` of an event."""
    stored = texts.get("stdout")
    rows = [row for line in decoded(stored[:]).split("\n") if (row := _row(line))] if stored else []
    tokens = sum((count_of(row.get("tokens_in")) or 0) + (count_of(row.get("tokens_out")) or 0) for row in rows)
    return {"calls": [_call(row) for row in rows[:CALLS_MAX]], "more": max(len(rows) - CALLS_MAX, 0), "tokens": tokens}


def _row(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _call(row: Mapping[str, Any]) -> SubCall:
    fate = str(row.get("fate") or "answered")
    failed = row.get("error_code")
    call: SubCall = {
        "id": f"q{count_of(row.get('number')) or 0}",
        "kind": str(row.get("kind") or "llm"),
        "status": str(failed) if failed else "ok" if fate == "answered" else fate,
        "question": str(row.get("prompt") or ""),
        "chars": (count_of(row.get("text_chars")) or 0),
        "ms": (count_of(row.get("duration_ms")) or 0),
        "tokens": (count_of(row.get("tokens_in")) or 0) + (count_of(row.get("tokens_out")) or 0),
        "answer": str(row.get("answer") or ""),
    }
    if isinstance(text := row.get("text"), str):
        call["of"] = text
    if isinstance(model := row.get("model_said") or row.get("model_asked") or row.get("answered_by"), str):
        call["backend"] = model
    if isinstance(child := row.get("child_session"), str):
        call["child"] = child
    return call
