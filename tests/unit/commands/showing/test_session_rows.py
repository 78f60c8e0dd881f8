"""The list of sessions at a terminal, and the heading of a trace there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.commands.showing.heading import show_heading
from rlm_kernel_mcp.commands.showing.session_rows import show_sessions
from rlm_kernel_mcp.commands.showing.words import COARSE
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.unit.commands.showing.lines import Lines

NOW: Final = datetime(2026, 11, 30, 10, 0, tzinfo=UTC)
USED: Final = json.dumps({"step_index": 41, "runtime_ms": 22_500, "budget_used": 42_000})
RECORD: Final = SessionRecord(
    "s_1",
    "2026",
    "text",
    "idle",
    limits=json.dumps(Guardrails().recorded()),
    counters=USED,
    context=json.dumps({"chars": 1_000}),
    last_used_at="2026-11-30T09:00:00.000Z",
    question="Which\n\x1b[2J handlers?",
    client="codex 1",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


def rows(*records: SessionRecord, holder: int | None = 1, waits: int = 0) -> Lines:
    lines = Lines(200)
    show_sessions([(record, holder, waits) for record in records], lines, COARSE, NOW)
    return lines


def test_a_session_is_told_with_what_it_has_used_of_each_limit_and_what_it_is_for() -> None:
    """The question is one line, whatever it has in it."""
    head, row, question = rows(RECORD).texts
    assert head.split()[:3] == ["SESSION", "STATE", "STEPS"]
    for cell in ("s_1", "idle", "41/64 ####.", "22/120 #....", "42,000/100,000 ###..", "text, 1,000 characters", "1 h"):
        assert cell in row
    assert row.endswith("codex 1")
    assert question == "    Which \\x1b[2J handlers?"


def test_in_a_narrow_terminal_the_bars_are_left_out() -> None:
    """They say nothing that the numbers before them do not say, and a line that goes on in the next one is no table."""
    lines = Lines(100)
    show_sessions([(RECORD, 1, 0)], lines, COARSE, NOW)
    head, row, question = lines.texts
    assert max(map(len, (head, row, question))) <= 100
    for cell in ("41/64  ", "22/120  ", "42,000/100,000  ", "codex 1"):
        assert cell in row
    assert "#" not in row


@pytest.mark.parametrize(
    ("fields", "waits", "state"),
    [
        ({"status": "running"}, 0, "running step 41"),
        ({"status": "running"}, 3, "running, waits for 3 answers"),
        ({"status": "stopped", "stop_reason": "max_steps"}, 0, "stopped: max_steps"),
        ({"status": "finalized", "finish_reason": "completed"}, 0, "answered"),
        ({"status": "finalized", "finish_reason": "ended"}, 0, "ended without an answer"),
    ],
)
def test_its_state_is_said_in_words(fields: dict[str, Any], waits: int, state: str) -> None:
    assert f"  {state}  " in rows(replace(RECORD, **fields), waits=waits).texts[1]


def test_one_that_no_server_drives_says_so_and_has_no_running_step() -> None:
    assert "  idle, no server  " in rows(replace(RECORD, status="running"), holder=None).texts[1]


def test_a_trace_begins_with_what_it_is_of_and_a_row_of_its_steps(store: Store) -> None:
    store.add_session(RECORD)
    for step, (ms, status) in enumerate([(1, "ok"), (60_000, "timeout"), (1, "error")], 1):
        store.add_event(EventRow("s_1", "2026", step, "run_repl", duration_ms=ms, result_status=status, code="x"))
    lines = Lines()
    show_heading(store, RECORD, lines, COARSE)
    question, stands, heights, empty = lines.texts
    assert question == "Which \\x1b[2J handlers?"
    assert stands == "s_1 - idle - opened by codex 1 - 41 of 64 steps - 22 of 120 s - 42,000 of 100,000 characters"
    assert (len(heights), heights[1], empty) == (3, COARSE.levels[7], "")
    assert [style for _, style in lines.parts[2]] == ["plain", "gone", "bad"]
