"""What a running step has said so far is noted in its row, and piles up nowhere."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.reports import AnswerGiven
from rlm_kernel_mcp.session.reports import Guardrails
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
        with progress.noting_progress(step, journal, Account(Guardrails())):
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


async def test_that_a_step_waits_for_answers_is_noted_without_waiting_for_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that it does not any more, whatever it says: whoever looks into the record finds where it stands."""
    monkeypatch.setattr(progress, "NOTE_S", 3_600.0)
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", "2026", "text", "running"))
    journal, desk = Journal(store, "s_1"), Desk("s_1")
    step = RunningStep(1, "code", 1_000, execution=Execution("x"), desk=desk)
    step.row_id = store.begin_event(EventRow("s_1", "2026", 1, "run_repl"))
    with progress.noting_progress(step, journal, Account(Guardrails())):
        one = desk.put("q", None, None, step_index=1, on_end=lambda answer, by: None)
        await until(lambda: [waits_of(row) for row in store.events("s_1")] == [1])
        desk.drop(one)
        await until(lambda: [waits_of(row) for row in store.events("s_1")] == [0])
        two = desk.put("q", None, None, step_index=1, on_end=lambda answer, by: None)
        await until(lambda: [waits_of(row) for row in store.events("s_1")] == [1])
        assert desk.hand_in([AnswerGiven(two.id, "yes")], "client 3") == ()
        await until(lambda: [waits_of(row) for row in store.events("s_1")] == [0])
    store.close()


async def test_what_is_used_while_a_step_says_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children use it, for example. The session has used it too, should its server be killed in the step."""
    monkeypatch.setattr(progress, "NOTE_S", 0)
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", "2026", "text", "running"))
    journal, account = Journal(store, "s_1"), Account(Guardrails())
    step = RunningStep(1, "code", 1_000, execution=Execution("x"))
    step.row_id = store.begin_event(EventRow("s_1", "2026", 1, "run_repl"))
    with progress.noting_progress(step, journal, account):
        account.charge_chars(30)
        used = "budget_used"
        await until(lambda: [json.loads(row.guardrail_snapshot).get(used) for row in store.events("s_1")] == [30])
    record = store.session("s_1")
    assert record is not None
    assert (json.loads(record.counters)[used], record.status) == (30, "running")
    store.close()
