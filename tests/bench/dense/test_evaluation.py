"""What a task took is read from the record of all its sessions, each thing once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from bench.dense.agents.evaluation import _looked_up
from bench.dense.agents.job import Used
from bench.dense.families import needle
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed

NOW: Final = "2026-11-29T12:00:00.000Z"
PARENT: Final = SessionRecord("s_1", NOW, "text", "idle")
CHILD: Final = replace(PARENT, session_id="s_2", parent="s_1", depth=1)


def book(store: Store, session_id: str, *rows: dict[str, Any]) -> None:
    for number, fields in enumerate(rows, 1):
        of: dict[str, Any] = {"session_id": session_id, "id": number * 1_000_000_000, "ts": NOW, "number": number}
        of |= {"step_index": 1, "source": "mcp", "batch": 1, "backend": "openai", "attempts": 1}
        row = SubcallRow(**(of | fields))
        store.subcalls.book(session_id, [(row, packed(Texts()))], lambda connection: None)


def test_what_children_spend_is_summed_once_and_no_turn_or_call_of_a_function_is_a_question(tmp_path: Path) -> None:
    """The parent's row of a child's question repeats what the child has used."""
    with closing(Store.open(tmp_path)) as store:
        for record in (PARENT, CHILD):
            store.add_session(record)
        spent: dict[str, Any] = {"tokens_in": 10, "tokens_out": 2, "usd": 0.5}
        of_child = {"kind": "rlm", "child_session": "s_2", "tokens_in": 20, "tokens_out": 4, "usd": 1.0}
        book(store, "s_1", spent, of_child, {"kind": "function", "backend": "function"}, {"fate": "late", **spent})
        book(store, "s_2", {"kind": "turn", **spent}, spent)
    paper = needle.paper(1 << 13, 1)
    result = _looked_up(paper, paper.tasks[0], tmp_path, Used(), 1.0)
    assert (result.asked, result.sub_tokens_in, result.sub_tokens_out) == (3, 40, 8)
    assert result.sub_usd == pytest.approx(2.0)


def test_the_answer_of_a_child_is_not_the_answer_to_the_task(tmp_path: Path) -> None:
    with closing(Store.open(tmp_path)) as store:
        for record in (PARENT, replace(CHILD, status="finalized", finished_at=NOW)):
            store.add_session(record)
    paper = needle.paper(1 << 13, 1)
    assert not _looked_up(paper, paper.tasks[0], tmp_path, Used(), 1.0).is_finalized
