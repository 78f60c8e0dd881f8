"""The questions of a session that have one number, with all that is kept of them: what was asked, what was answered.

Is: their texts in full, safe, of which a trace shows the beginnings. Is not: the trace (`forms.py`), nor the rows
themselves. Above: `trace.py`. Below: `pager.py`, `store/subcalls.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from rlm_kernel_mcp.commands.showing.forms import Form
from rlm_kernel_mcp.commands.showing.pager import paged
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts
from rlm_kernel_mcp.text.markup import fenced
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.wording import counted, damaged_words


def print_question(store: Store, session_id: str, number: int, form: Form) -> int:
    """Print each question with this number: a kernel that follows another counts from 1 again.

    Raises:
        InvalidInput: the session has none.
    """
    rows = store.subcalls.rows(session_id)
    found = [(row, store.subcalls.texts(session_id, row.id)) for row in rows if row.number == number]
    if rows.damaged:
        print(f"rlm-kernel-mcp: {damaged_words(rows.damaged, 'question')}", file=sys.stderr)
    if not found:
        raise InvalidInput(
            f"Session {session_id} has no question {number:,}.",
            f"`rlm-kernel-mcp trace {session_id}` has the number of each question in the line of that question.",
        )
    with paged() if form == "text" else nullcontext():
        if form == "json":
            print(json.dumps([_data(row, texts) for row, texts in found], indent=1))
        else:
            for row, texts in found:
                print(json.dumps(_data(row, texts)) if form == "jsonl" else "\n\n".join(_paragraphs(row, texts)) + "\n")
    return 0


def _data(row: SubcallRow, texts: Texts) -> dict[str, Any]:
    return asdict(row) | {name: None if text is None else safe_text(text) for name, text in asdict(texts).items()}


def _paragraphs(row: SubcallRow, texts: Texts) -> Iterator[str]:
    """For reading. A fence is longer than any in the text that it is around."""
    fate = row.fate if row.error_code is None else f"{row.fate}, {row.error_code}"
    asked_by = "a person's cell" if row.source == "console" else f"step {row.step_index:,}"
    yield f"Question {row.number:,} of {asked_by}, {row.ts}: {fate}"
    if row.duplicate_of is not None:
        yield f"It is the same as question {row.duplicate_of:,}, and has its answer."
    kept = [(name, safe_text(text)) for name, text in asdict(texts).items() if text is not None]
    for name, text in kept:
        yield f"{name.capitalize()}, {counted(len(text), 'character')}:\n{fenced(text)}"
    if not kept:
        yield "Its texts are not kept."
