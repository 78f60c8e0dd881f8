"""What a clock that is set may do to sessions, and what the upkeep of a large store to a server's end: nothing."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.store.database.records import SessionRecord
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.store.upkeep import PruningClock, keep_up
from tests.sessions import WAIT_S, until

BEGUN = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Clocks:
    """The system's clock, and what counts the time that really passes."""

    def __init__(self) -> None:
        self.wall, self.passed_s = BEGUN, 1_000.0
        self.pruning = PruningClock(lambda: self.wall, lambda: self.passed_s)

    def pass_days(self, days: float) -> None:
        self.wall, self.passed_s = self.wall + timedelta(days=days), self.passed_s + days * 86_400

    def now(self) -> datetime:
        return datetime.fromisoformat(self.pruning.now_iso())


def test_a_clock_set_far_ahead_makes_no_session_old(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said, once; what is old by the time that really passes is still removed."""
    clocks = Clocks()
    store = Store.open(tmp_path)
    for name, days in (("s_new", 1), ("s_old", 31)):
        store.add_session(SessionRecord(name, (BEGUN - timedelta(days=days)).isoformat(), "text", "idle"))
    store.close()
    store = Store.open(tmp_path)
    clocks.wall += timedelta(days=3_650)
    store.prune(clocks.pruning.now_iso())
    assert [found.session_id for found in store.sessions()] == ["s_new"]
    clocks.pass_days(1)
    store.prune(clocks.pruning.now_iso())
    assert [found.session_id for found in store.sessions()] == ["s_new"]
    assert caplog.text.count("the system's clock was set") == 1
    clocks.pass_days(28)
    store.prune(clocks.pruning.now_iso())
    assert list(store.sessions()) == []
    store.close()


def test_ages_are_counted_to_the_system_s_clock_where_it_was_not_set(caplog: pytest.LogCaptureFixture) -> None:
    """Also set back, or a little ahead: those who write when a session was used go by it too."""
    clocks = Clocks()
    clocks.pass_days(40)
    assert clocks.now() == clocks.wall
    clocks.wall += timedelta(hours=23)
    assert clocks.now() == clocks.wall
    clocks.wall -= timedelta(days=90)
    assert clocks.now() == clocks.wall
    assert caplog.text == ""


def test_a_server_s_end_does_not_wait_until_a_large_store_is_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That may take seconds, and a client kills what does not end in two."""
    begun, wanted, ended = threading.Event(), threading.Event(), threading.Event()

    def look_through(_store: Store) -> None:
        begun.set()
        wanted.wait(WAIT_S)
        ended.set()

    async def begin_and_end() -> None:
        upkeep = asyncio.ensure_future(keep_up(store))
        await until(begun.is_set)
        upkeep.cancel()

    monkeypatch.setattr(Store, "look_through", look_through)
    store = Store.open(tmp_path)
    asyncio.run(begin_and_end())
    assert not ended.is_set()
    wanted.set()
    assert ended.wait(WAIT_S)
    store.close()


@pytest.mark.parametrize(("is_followed", "left"), [(False, []), (True, ["s_old"])])
def test_what_others_are_to_have_goes_neither_for_its_age_nor_for_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_followed: bool, left: list[str]
) -> None:
    """A node said of a session that it had that there is none, once its own disk had more than 2 GB of values."""
    pruned, prune = threading.Event(), Store.prune

    def noted(store: Store, *bounds: Any) -> None:
        prune(store, *bounds)
        pruned.set()

    async def one_run() -> None:
        upkeep = asyncio.ensure_future(keep_up(store))
        await until(pruned.is_set)
        upkeep.cancel()

    monkeypatch.setattr(Store, "prune", noted)
    store = Store.open(tmp_path)
    store.add_session(SessionRecord("s_old", "2020-01-01T00:00:00Z", "text", "idle"))
    store.close()
    store = Store.open(tmp_path)
    if is_followed:
        store.following.begin()
    asyncio.run(one_run())
    assert [found.session_id for found in store.sessions()] == left
    store.close()
