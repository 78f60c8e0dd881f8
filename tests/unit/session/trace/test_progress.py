"""What a running step has said so far is noted in its row, and piles up nowhere."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.session.trace import progress
from rlm_kernel_mcp.session.trace.events import waits_of
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from rlm_kernel_mcp.store.writer import AT_ONCE_CHARS, Writer
from tests.sessions import until

pytestmark = pytest.mark.anyio

TURNS = 100


async def test_notes_do_not_pile_up_where_the_disk_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the whole output: one waits at most, and what was left out is in the next."""
    monkeypatch.setattr(progress, "NOTE_S", 0)
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", "2026", "text", "running"))
    writer = Writer(store)
    journal = Journal(store, "s_1", writer=writer)
    step = RunningStep(1, "code", 1_000, execution=Execution("x"))
    step.row_id = store.begin_event(EventRow("s_1", "2026", 1, "run_repl"))
    assert step.execution is not None
    answers = threading.Event()
    try:
        writer.do("s_1", lambda: answers.wait(60), AT_ONCE_CHARS + 1)
        with progress.noting_progress(step, journal):
            for _ in range(TURNS):
                step.execution.reply.stdout.add("x")
                await asyncio.sleep(0)
            assert len(writer._waiting["s_1"]) <= 1
            answers.set()
            await until(lambda: [row.stdout for row in store.events("s_1")] == ["x" * TURNS])
    finally:
        answers.set()
        writer.close()
        store.close()


async def test_a_step_that_says_nothing_and_waits_for_answers_is_noted_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again once it does not wait any more: whoever looks into the record finds where it stands."""
    monkeypatch.setattr(progress, "NOTE_S", 0)
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", "2026", "text", "running"))
    journal, desk = Journal(store, "s_1"), Desk("s_1")
    step = RunningStep(1, "code", 1_000, execution=Execution("x"), desk=desk)
    step.row_id = store.begin_event(EventRow("s_1", "2026", 1, "run_repl"))
    with progress.noting_progress(step, journal):
        one = desk.put("q", None, None, step_index=1, on_end=lambda answer, by: None)
        await until(lambda: [waits_of(row) for row in store.events("s_1")] == [1])
        desk.drop(one)
        await until(lambda: [waits_of(row) for row in store.events("s_1")] == [0])
    store.close()
