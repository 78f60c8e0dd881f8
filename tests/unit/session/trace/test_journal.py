"""A step's rows and its session's counters go into the record together, or not at all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.writer import Writer

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_1", "2026", "text", "idle"))
    yield store
    store.close()


@pytest.fixture
def journal(store: Store) -> Iterator[Journal]:
    writer = Writer(store)
    yield Journal(store, "s_1", writer=writer)
    writer.close()


class FullAt:
    """A connection to a disk that is full at its n-th statement, as SQLite tells it: the transaction is ended then."""

    def __init__(self, disk: sqlite3.Connection, n: int) -> None:
        self._disk, self._left = disk, n

    @property
    def has_failed(self) -> bool:
        return self._left < 0

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        self._left -= 1
        if self._left != -1:
            return self._disk.execute(statement, values)
        self._disk.rollback()
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)


def one_step(journal: Journal, account: Account) -> None:
    account.admit(3)
    index = account.begin_step()
    row_id = journal.step_begins(index, "1+1", account)
    account.charge_runtime(7)
    journal.step_ended(row_id, Outcome("ok", 7, result="2"), account)
    account.charge_chars(1)
    journal.delivered(index, account, "idle")


def recorded(store: Store) -> list[object]:
    """What the record has of the session's counters and of its steps, all of it whole."""
    record = store.session("s_1")
    assert record is not None
    events = store.events("s_1")
    assert not events.damaged
    used = [json.loads(event.guardrail_snapshot)["budget_used"] for event in events]
    results = [(event.step_index, event.result_status, event.code, event.result) for event in events]
    return [json.loads(record.counters), record.status, results, used]


ONE_STEP = [{"step_index": 1, "runtime_ms": 7, "budget_used": 4}, "idle", [(1, "ok", "1+1", "2")], [4]]


AMENDED_AT = 10
"""The first write of the last transaction: who finds the disk full as it begins one leaves it to a thread."""


async def test_a_step_is_written_in_three_transactions(store: Store, journal: Journal) -> None:
    """Six of them were an eighth of its price, and a kill between two left a step that its session did not count."""
    disk = store._database._disk
    assert disk is not None
    said: list[str] = []
    store.at_once(lambda: None)  # once: how long a statement waits for others
    disk.set_trace_callback(lambda statement: said.append(" ".join(statement.split()[:2])))
    one_step(journal, Account(Guardrails()))
    disk.set_trace_callback(None)
    event_too = ("INSERT OR", "UPDATE events", "UPDATE events")
    assert said == [one for event in event_too for one in ("BEGIN IMMEDIATE", "UPDATE sessions", event, "COMMIT")]
    assert recorded(store) == ONE_STEP


@pytest.mark.parametrize("fails_at", range(13))
async def test_both_are_kept_whichever_statement_finds_the_disk_full(
    store: Store, journal: Journal, fails_at: int
) -> None:
    """What the disk took of a transaction that it did not end is written again, in memory, and then on the disk."""
    disk = store._database._disk
    assert disk is not None
    failing = FullAt(disk, fails_at)
    store._database._disk = failing  # type: ignore[assignment]
    one_step(journal, Account(Guardrails()))
    await journal.settled()
    assert failing.has_failed
    # A row that is complete stays on the disk: what its delivery charged is then in the session's row alone.
    *kept, used = ONE_STEP
    expected = [*kept, used if fails_at < AMENDED_AT else [3]]
    assert recorded(store) == expected
    store._database._disk = disk
    assert store._database.return_to_disk()
    assert (recorded(store), store.problem) == (expected, None)
