"""A server's outcomes are in memory up to a bound over all its sessions; the rest is read from the record again."""

from __future__ import annotations

from pathlib import Path

from rlm_kernel_mcp.kernel.untrusted.reply import Reply
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails, StepError, Variable
from rlm_kernel_mcp.session.steps.outcomes import RECENT_STEPS, Outcome, Outcomes
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.store import SessionRecord, Store

NOW = "2026-11-22T10:00:00.000Z"


def outcome(size: int) -> Outcome:
    return Outcome("ok", 1, stdout="x" * size)


def test_the_oldest_outcomes_give_way_whoever_s_they_are() -> None:
    """Each session kept its last one whatever its size: 45 MB each."""
    outcomes = Outcomes(memory_bytes=100_000)
    for number in range(4):
        outcomes.add(f"s_{number}", 1, outcome(40_000))
    assert [number for number in range(4) if outcomes.get(f"s_{number}", 1)] == [2, 3]
    outcomes.add("s_5", 1, outcome(200_000))
    assert [number for number in range(6) if outcomes.get(f"s_{number}", 1)] == []
    outcomes.add("s_6", 1, outcome(90_000))
    assert outcomes.get("s_6", 1) is not None


def test_without_the_bound_all_of_it_would_stay() -> None:
    """The control: what the bound drops is there, as it was when each session kept its last one."""
    outcomes = Outcomes(memory_bytes=1 << 40)
    for number in range(6):
        outcomes.add(f"s_{number}", 1, outcome(40_000))
    found = [outcomes.get(f"s_{number}", 1) for number in range(6)]
    assert sum(len(each.stdout) for each in found if each is not None) == 240_000


def test_characters_count_by_what_they_take_in_memory() -> None:
    """An emoji is four bytes, and makes the others of its text four bytes too."""
    outcomes = Outcomes(memory_bytes=100_000)
    outcomes.add("s_1", 1, Outcome("ok", 1, result="x" * 40_000 + "😀"))
    assert outcomes.get("s_1", 1) is None


def test_of_one_session_the_newest_few_stay_and_a_session_can_be_forgotten() -> None:
    """Small ones too: there may be a million steps."""
    outcomes = Outcomes()
    for index in range(1, 21):
        outcomes.add("s_1", index, outcome(10))
    outcomes.add("s_2", 1, outcome(10))
    assert [index for index in range(1, 21) if outcomes.get("s_1", index)] == list(range(21 - RECENT_STEPS, 21))
    outcomes.forget("s_1")
    assert outcomes.get("s_1", 20) is None
    assert outcomes.get("s_2", 1) is not None


def test_an_outcome_read_from_the_record_is_the_one_that_was_written(tmp_path: Path) -> None:
    """With all that a report says: also what was dropped, and how much came late."""
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", NOW, "text", "idle"))
    journal = Journal(store, "s_1", Outcomes(memory_bytes=10))
    account = Account(Guardrails())
    whole = Outcome(
        "error",
        5,
        stdout="out",
        stderr="err",
        error=StepError("E", "é", "traceback"),
        updated=(Variable("x", "int", None),),
        dropped={"stdout": 7},
        late_chars=3,
    )
    row_id = journal.step_begins(1, "code", account)
    journal.step_ended(row_id, whole, account)
    journal.remember(1, whole)
    assert journal.remembered(1) is None
    assert journal.outcome(1) == whole
    store.close()


def test_progress_is_noted_while_a_step_runs_and_never_after_its_end(tmp_path: Path) -> None:
    """It is written by a thread that nobody waits for."""
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", NOW, "text", "idle"))
    journal, account = Journal(store, "s_1"), Account(Guardrails())
    row_id = journal.step_begins(1, "code", account)
    journal.step_goes_on(row_id, 1_500, "so far", "")
    (running,) = store.events("s_1")
    assert (running.stdout, running.duration_ms, running.result_status) == ("so far", 1_500, "unknown")
    journal.step_goes_on(row_id, 2_500, "x" * 1_000_000, "")
    assert len(store.events("s_1")[0].stdout or "") < 70_000
    journal.step_ended(row_id, Outcome("ok", 3_000, stdout="all of it"), account)
    journal.step_goes_on(row_id, 3_500, "too late", "")
    (ended,) = store.events("s_1")
    assert (ended.stdout, ended.duration_ms, ended.result_status) == ("all of it", 3_000, "ok")
    store.close()


def test_a_cell_of_a_console_has_its_own_time_and_status(tmp_path: Path) -> None:
    """One that a person stopped after 3 s was `error, 0 ms`."""
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", NOW, "text", "idle"))
    journal, account = Journal(store, "s_1"), Account(Guardrails())
    for count, ename in enumerate((None, "KeyboardInterrupt", "ValueError"), 1):
        reply = Reply(f"m{count}", code="cell", execution_count=count, ename=ename)
        reply.begun_ns -= 3_000_000_000
        journal.console(reply, account)
    found = [(row.source, row.result_status, row.duration_ms // 1_000) for row in store.events("s_1")]
    assert found == [("console", "ok", 3), ("console", "interrupted", 3), ("console", "error", 3)]
    store.close()
