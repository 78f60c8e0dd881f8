"""The list of sessions: a row each, a letter a step, and only what has changed since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.session.reports import StepError
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.watching.messages.answers import PULSE_MAX
from rlm_kernel_mcp.watching.record.listed import Changes, Listed, pulse_of
from tests.unit.watching.recorded import Recorded


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path, question="what?")
    yield made
    made.close()


def test_a_row_says_how_a_session_stands(session: Recorded, store: Store) -> None:
    session.step()
    session.step(error=StepError("ValueError", "", ""), status="error")
    (row,) = Listed(store).page()["sessions"]
    assert (row["id"], row["title"], row["status"], row["pulse"]) == ("s_1", "what?", "idle", "oe")
    assert (row["used"]["steps"], row["running"], row["said"]) == (2, None, None)


def test_a_session_that_runs_says_which_step_and_since_when(session: Recorded, store: Store) -> None:
    session.begin()
    (row,) = Listed(store).page()["sessions"]
    assert row["status"] == "running"
    assert row["running"] is not None
    assert row["running"]["step"] == 1
    assert row["running"]["elapsed_ms"] >= 0


def test_a_stopped_session_says_by_what(session: Recorded, store: Store) -> None:
    session.store.update_session(
        "s_1", status="stopped", stop_reason="budget_exceeded", limits='{"budget_limit": 1000}'
    )
    (row,) = Listed(store).page()["sessions"]
    assert row["said"] == "stopped: all 1,000 characters used; no answer yet"


def test_a_page_says_how_many_sessions_are_older(session: Recorded, store: Store) -> None:
    for number in range(3):
        session.store.add_session(SessionRecord(f"s_{number}0", f"2026-11-30T12:00:0{number}Z", "text", "idle"))
    listed = Listed(store)
    page = listed.page(most=2)
    assert page["older"] == 2
    rest = listed.page(before=page["sessions"][-1]["last"])
    assert (len(rest["sessions"]), rest["older"]) == (2, 0)
    assert {row["id"] for row in (*page["sessions"], *rest["sessions"])} == {"s_1", "s_00", "s_10", "s_20"}


def test_sessions_that_were_used_at_the_same_moment_are_on_one_page_each(session: Recorded, store: Store) -> None:
    """A host that ends writes several in one millisecond."""
    for number in range(4):
        session.store.add_session(SessionRecord(f"s_{number}0", "2026-11-30T12:00:00Z", "text", "idle"))
    listed, before, found = Listed(store), "", list[str]()
    while (page := listed.page(before, most=2))["sessions"]:
        found += [row["id"] for row in page["sessions"]]
        before = "{last},{id}".format_map(page["sessions"][-1])
        assert page["older"] == 5 - len(found)
    assert found == ["s_30", "s_20", "s_10", "s_1", "s_00"]


def test_only_rows_that_have_changed_are_told(session: Recorded, store: Store) -> None:
    changes = Changes(store, Listed(store))
    first = changes.look()
    assert first is not None
    assert [row["id"] for row in first["sessions"]] == ["s_1"]
    assert changes.look() is None
    session.step()
    again = changes.look()
    assert again is not None
    assert [row["pulse"] for row in again["sessions"]] == ["o"]
    session.store.remove_session("s_1")
    last = changes.look()
    assert last is not None
    assert (last["sessions"], last["gone"]) == ([], ["s_1"])


def test_nothing_is_told_to_be_gone_where_the_store_cannot_be_read(
    tmp_path: Path, session: Recorded, store: Store
) -> None:
    changes = Changes(store, Listed(store))
    changes.look()
    (tmp_path / "sessions.db").rename(tmp_path / "elsewhere")
    assert changes.look() is None


def test_the_letters_of_a_pulse() -> None:
    marks = [
        ("init_context", "mcp", "ok"),
        ("run_repl", "mcp", "ok"),
        ("run_repl", "console", "ok"),
        ("run_repl", "mcp", "timeout"),
        ("interrupt", "mcp", "ok"),
        ("restore", "mcp", "ok"),
        ("subcalls", "mcp", "ok"),
        ("finalize", "mcp", "completed"),
        ("of another version", "mcp", "ok"),
    ]
    assert pulse_of(marks) == "oheksf"


def test_a_step_whose_end_nobody_heard_went_wrong_unless_it_runs() -> None:
    """The record has no end of either; of a person's cell only its messages may have been missed."""
    marks = [("run_repl", "mcp", "unknown"), ("run_repl", "console", "unknown"), ("run_repl", "mcp", "unknown")]
    assert pulse_of(marks) == "ehe"
    assert pulse_of(marks, runs=True) == "eho"
    assert pulse_of([*marks[:2], ("run_repl", "mcp", "error")], runs=True) == "ehe"
    assert pulse_of([], runs=True) == ""


def test_a_step_that_runs_is_no_fault_and_one_whose_server_was_killed_is(session: Recorded, store: Store) -> None:
    session.step()
    session.begin()
    assert [row["pulse"] for row in Listed(store).page()["sessions"]] == ["oo"]
    assert session.lock is not None
    session.lock.release()
    session.lock = None
    (row,) = Listed(store).page()["sessions"]
    assert (row["status"], row["pulse"]) == ("idle", "oe")


@pytest.mark.parametrize("count", [PULSE_MAX, PULSE_MAX + 1, 10_000])
def test_a_pulse_has_a_bound_and_hides_no_fault(count: int) -> None:
    found = pulse_of([("run_repl", "mcp", "error" if number == 7 else "ok") for number in range(count)])
    assert len(found) <= PULSE_MAX
    assert found.count("e") == 1
