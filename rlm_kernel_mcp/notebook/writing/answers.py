"""The questions of a session's code with their answers, as a notebook keeps them.

Is: rows of the store to `SubcallFacts`, step by step, within the limit on all answers. Is not: what a kernel does with
them (`in_kernel/asking/recorded.py`). Above: `record.py`. Below: `store/subcalls.py`, `both_sides/recorded_cells.py`,
`notebook/form/texts.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rlm_kernel_mcp.both_sides.recorded_cells import question_digest
from rlm_kernel_mcp.notebook.form.names import ANSWERS_CHARS_MAX, SubcallFacts
from rlm_kernel_mcp.notebook.form.texts import in_base64
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts
from rlm_kernel_mcp.text.safe_text import safe_text

SHOWN_CHARS: Final = 200


def subcalls_of(store: Store, session_id: str) -> dict[tuple[int, str], list[SubcallFacts]]:
    """By step and source (`mcp`, `console`), in the order in which they were asked. Call it in a thread: it reads."""
    found: dict[tuple[int, str], list[SubcallFacts]] = {}
    left = ANSWERS_CHARS_MAX
    for row, texts in _with_texts(store, session_id):
        facts = _facts(row, texts)
        if texts.answer is not None and row.fate != "failed":
            left -= len(texts.answer)
            facts |= _answer(texts.answer) if left >= 0 else {}
        found.setdefault((row.step_index, row.source), []).append(facts)
    return {key: sorted(rows, key=lambda one: one["number"]) for key, rows in found.items()}


def _with_texts(store: Store, session_id: str) -> Iterator[tuple[SubcallRow, Texts]]:
    """Every question, without what came too late. A duplicate has the texts of the question that it is one of."""
    of_number: dict[tuple[int, str, int], Texts] = {}
    rows = [row for row in store.subcalls.rows(session_id) if row.fate != "late"]
    for row in sorted(rows, key=lambda row: row.fate == "duplicate"):
        key = (row.step_index, row.source)
        if row.fate == "duplicate":
            yield row, of_number.get((*key, row.duplicate_of or 0), Texts())
            continue
        texts = of_number[(*key, row.number)] = store.subcalls.texts(session_id, row.id)
        yield row, texts


def _facts(row: SubcallRow, texts: Texts) -> SubcallFacts:
    facts: SubcallFacts = {"kind": row.kind, "batch": row.batch, "number": row.number, "fate": row.fate}
    if row.error_code is not None:
        facts["error_code"] = row.error_code
    if texts.prompt is not None:
        facts["digest"] = question_digest(row.kind, texts.prompt, texts.text)
        facts["prompt"] = _beginning(texts.prompt)
        if texts.text is not None:
            facts["text"] = _beginning(texts.text)
    if row.model_said:
        facts["model"] = safe_text(row.model_said)
    if row.child_session is not None:
        facts["child_session"] = row.child_session
    if row.tokens_in or row.tokens_out:
        facts["tokens_in"], facts["tokens_out"] = row.tokens_in, row.tokens_out
    if row.usd is not None:
        facts["usd"] = row.usd
    if row.duration_ms:
        facts["duration_ms"] = row.duration_ms
    return facts


def _answer(answer: str) -> SubcallFacts:
    packed = in_base64(answer)
    return {"answer": answer} if packed is None else {"answer_base64": packed}


def _beginning(text: str) -> str:
    shown = safe_text(text[:SHOWN_CHARS])
    return shown if len(text) <= SHOWN_CHARS else f"{shown}…"
