"""Who writes the record waits for nobody on the event loop, keeps each session's order, and loses nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlm_kernel_mcp.store import writer as store_writer
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.writer import AT_ONCE_CHARS, Writer
from tests.sessions import until

pytestmark = pytest.mark.anyio

LARGE = AT_ONCE_CHARS + 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path)
    for session_id in ("s_1", "s_2"):
        store.add_session(SessionRecord(session_id, "2026", "text", "idle"))
    yield store
    store.close()


@pytest.fixture
def writer(store: Store) -> Iterator[Writer]:
    writer = Writer(store)
    yield writer
    writer.close()


@pytest.fixture
def other(store: Store, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another process, as far as SQLite is concerned, that keeps the store locked."""
    assert store.problem is None
    connection = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    yield connection
    connection.close()


def status_of(store: Store, session_id: str) -> str:
    record = store.session(session_id)
    assert record is not None
    return record.status


async def test_a_small_write_is_done_at_once(store: Store, writer: Writer) -> None:
    """By the caller itself: a step does not pay for a thread."""
    writers: list[threading.Thread] = []
    writer.do("s_1", lambda: writers.append(threading.current_thread()))
    writer.do("s_1", lambda: writers.append(threading.current_thread()), LARGE)
    await writer.settled("s_1")
    assert [one is threading.main_thread() for one in writers] == [True, False]
    assert writer.problem("s_1") is None


async def test_a_store_that_another_process_keeps_locked_holds_nobody_up_but_who_must_know(
    store: Store, writer: Writer, other: sqlite3.Connection
) -> None:
    """What is given waits in a thread; it is there once the other process is done, in its order."""
    for number in range(5):
        writer.do("s_1", lambda number=number: store.update_session("s_1", status=f"status {number}"))  # type: ignore[misc]
    assert "s_1" in writer._since_s  # this was reached without a wait
    assert store.problem is None
    other.execute("ROLLBACK")
    await writer.settled("s_1")
    assert (status_of(store, "s_1"), store.problem) == ("status 4", None)


async def test_a_store_that_stays_locked_is_told_once_it_matters(
    store: Store, writer: Writer, other: sqlite3.Connection
) -> None:
    """And is in memory by then; nothing is lost when the lock goes."""
    writer.do("s_1", lambda: store.update_session("s_1", status="kept"))
    await writer.settled("s_1")
    assert "another process holds a lock on it" in (writer.problem("s_1") or "")
    other.execute("ROLLBACK")
    store._database.return_to_disk()
    assert (status_of(store, "s_1"), store.problem) == ("kept", None)


async def test_each_session_s_writes_keep_their_order_and_wait_for_no_other_s(store: Store, writer: Writer) -> None:
    """A long one of the neighbour's is under way meanwhile."""
    go_on, done = threading.Event(), list[int]()
    writer.do("s_2", lambda: go_on.wait(60), LARGE)
    for number in range(100):
        writer.do("s_1", lambda number=number: done.append(number), LARGE * (number % 3 == 0))  # type: ignore[misc]
    await writer.settled("s_1")
    assert done == list(range(100))
    assert "s_2" in writer._since_s
    go_on.set()
    await writer.settled("s_2")


async def test_a_disk_that_does_not_answer_is_told_and_its_writes_come_later(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for it has a bound."""
    monkeypatch.setattr(store_writer, "SETTLED_S", 0.05)
    go_on = threading.Event()

    def slowly() -> None:
        assert go_on.wait(60)
        store.update_session("s_1", status="late")

    writer.do("s_1", slowly, LARGE)
    await writer.settled("s_1")
    assert "has not answered" in (writer.problem("s_1") or "")
    assert status_of(store, "s_1") == "idle"
    go_on.set()
    await asyncio.to_thread(writer.close)
    assert status_of(store, "s_1") == "late"


async def test_a_write_that_fails_stops_no_other(store: Store, writer: Writer) -> None:
    """It is logged; who waits for its result is told."""
    made = writer.made("s_1", lambda: 1 // 0)
    writer.do("s_1", lambda: store.update_session("s_1", status="kept"))
    with pytest.raises(ZeroDivisionError):
        await made
    await writer.settled("s_1")
    assert status_of(store, "s_1") == "kept"


async def test_a_slow_write_leaves_the_next_ones_to_threads(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is slow once is slow again, however much later; the first that is quick ends that."""
    writers: list[bool] = []

    async def write() -> None:
        writer.do("s_1", lambda: writers.append(threading.current_thread() is threading.main_thread()))
        await writer.settled("s_1")
        await until(lambda: not writer.is_behind("s_1"))  # its thread has left: the next is a choice again

    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 3_600)
    monkeypatch.setattr(store_writer, "SLOW_S", 0.0)
    await write()
    monkeypatch.setattr(store_writer, "time", later)
    await write()
    monkeypatch.setattr(store_writer, "SLOW_S", 60.0)
    await write()
    await write()
    assert writers == [True, False, False, True]


async def test_a_disk_that_is_full_at_a_write_at_once_raises_nothing(store: Store, writer: Writer) -> None:
    """SQLite ends the transaction by itself there: to end it again would be an error in the place of the step."""
    disk = store._database._disk
    assert disk is not None
    disk.execute("PRAGMA max_page_count = 1")
    writer.do("s_1", lambda: store.put_context("s_1", b"x" * AT_ONCE_CHARS))
    writer.do("s_1", lambda: store.update_session("s_1", status="while full"))
    assert "the disk is full" in (store.problem or "")
    disk.execute("PRAGMA max_page_count = 1000000")
    assert store._database.return_to_disk()
    writer.do("s_1", lambda: store.update_session("s_1", status="after"))
    assert (status_of(store, "s_1"), store.context("s_1"), store.problem) == ("after", b"x" * AT_ONCE_CHARS, None)


async def test_what_is_asked_for_after_the_end_fails_and_is_not_waited_for(store: Store, writer: Writer) -> None:
    """Its future would never end."""
    writer.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        async with asyncio.timeout(60):
            await writer.made("s_1", lambda: store.context("s_1"))
    assert not writer.do("s_1", lambda: store.update_session("s_1", status="too late"))
    assert status_of(store, "s_1") == "idle"
