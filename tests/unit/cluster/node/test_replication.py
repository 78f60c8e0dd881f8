"""What an answer waits for and what follows: the real store in a folder, and parts of a session that tests make up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from rlm_kernel_mcp.cluster.node import replication as module
from rlm_kernel_mcp.cluster.node.kept import New
from rlm_kernel_mcp.cluster.node.replication import Replication
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import Frame, SharedStore
from rlm_kernel_mcp.errors import SessionBusy, SessionMoved, StoreUnavailable
from rlm_kernel_mcp.session.carrying.durable import Progress
from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker
from rlm_kernel_mcp.variables.cluster import ClusterSettings
from tests.sessions import until

SESSION = "s_abcdefgh"


def progress(step: int = 1, parent: str = "") -> Progress:
    return Progress(SESSION, parent, step, cast("SnapshotTaker", None), {})


@dataclass
class MadeUp:
    """`Parts`: a row for each time that it is asked, and what a test says is lacking."""

    lacking: list[tuple[str, ...]] = field(default_factory=list)
    """Of the next times; then nothing is."""
    halves: int = 0
    """How often there are more rows than go at once."""
    fails: int = 0
    key: str = "row"
    held: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[float, int]] = field(default_factory=list)

    def progress(self, _session_id: str) -> Progress | None:
        return progress()

    async def added(self, _progress: Progress, sent: Any, within_s: float, bytes_max: int) -> New:
        await self.held.wait()
        self.asked.append((within_s, bytes_max))
        if self.fails:
            self.fails -= 1
            raise SessionBusy("The record cannot be read.")
        number = (sent or 0) + 1
        is_all, self.halves = self.halves == 0, max(0, self.halves - 1)
        lacking = self.lacking.pop(0) if self.lacking else ()
        return New((Frame(1, f"{self.key}:{number}", b"row"),), number, lacking, is_all)


@dataclass
class Node:
    replication: Replication
    parts: MadeUp
    store: SharedStore
    moved: list[str]

    async def rows(self) -> int:
        """How many rows whoever takes over finds."""
        newest = await self.store.newest(SESSION)
        assert newest is not None
        return len([one async for one in self.store.read(SESSION, newest.epoch)])


@asynccontextmanager
async def node(
    where: Path, name: str = "one", faults: Callable[[str], None] = lambda _: None, **settings: Any
) -> AsyncIterator[Node]:
    store, parts, moved = open_store(str(where / "store"), faults=faults), MadeUp(), list[str]()
    parts.held.set()
    replication = Replication(ClusterSettings(name, "", **{"durable_ms": 60_000, **settings}), store, moved.append)
    replication.parts = parts
    try:
        yield Node(replication, parts, store, moved)
    finally:
        parts.held.set()
        await replication.close()
        await store.close()


def test_an_answer_waits_until_the_store_has_its_rows(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path) as one:
            await one.replication.opened(progress(0))
            one.parts.held.clear()
            answers = [asyncio.create_task(one.replication.kept(progress())) for _ in range(3)]
            await asyncio.sleep(0)
            assert not any(answer.done() for answer in answers)
            one.parts.held.set()
            assert await asyncio.gather(*answers) == [(), (), ()]
            assert await one.rows() == len(one.parts.asked)

    asyncio.run(main())


def test_rows_that_are_too_many_for_one_append_come_in_several_before_the_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path) as one:
            await one.replication.opened(progress(0))
            one.parts.halves = 2
            await one.replication.kept(progress())
            assert await one.rows() == 4

    asyncio.run(main())


def test_a_value_that_is_lacking_follows_with_more_room_and_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path, durable_mb=1) as one:
            await one.replication.opened(progress(0))
            one.parts.lacking = [("large",)]
            assert await one.replication.kept(progress()) == ("large",)
            await one.replication.all_there(SESSION, 60.0)
            answered, followed = one.parts.asked[-2:]
            assert followed[0] > answered[0]
            assert followed[1] > answered[1]
            assert await one.replication.kept(progress(2)) == ()

    asyncio.run(main())


def test_a_value_that_never_comes_is_named_each_time_and_not_asked_for_without_end(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path) as one:
            await one.replication.opened(progress(0))
            one.parts.lacking = [("hung",)] * 5
            assert await one.replication.kept(progress()) == ("hung",)
            await one.replication.all_there(SESSION, 60.0)
            assert len(one.parts.lacking) == 3  # the answer, and once more
            assert await one.replication.kept(progress(2)) == ("hung",)

    asyncio.run(main())


def test_a_record_that_cannot_be_read_here_is_no_answer_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE_S", 0.0)

    async def main() -> None:
        async with node(tmp_path, durable_ms=1) as one:
            await one.replication.opened(progress(0))
            one.parts.fails = 2
            with pytest.raises(StoreUnavailable) as refused:
                await one.replication.kept(progress(7))
            assert "by its step 7" in refused.value.message
            await until(lambda: not one.replication._sessions[SESSION].is_behind)
            assert await one.rows() == 2

    asyncio.run(main())


def test_what_the_store_never_takes_is_said_at_once_with_its_size(tmp_path: Path) -> None:
    """Nothing but the time that the wait had taken was said before."""

    async def main() -> None:
        async with node(tmp_path) as one:
            await one.replication.opened(progress(0))
            one.parts.key = "k" * 2_000
            with pytest.raises(StoreUnavailable, match="a key has 2,002 characters, and may have 1 to 1,024"):
                await one.replication.kept(progress())
            one.parts.key = "row"
            assert await one.replication.kept(progress(2)) == ()
            assert await one.rows() == 2

    asyncio.run(main())


def test_an_opening_that_the_store_never_takes_is_said_at_once_with_its_size(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path) as one:
            one.parts.key = "k" * 2_000
            with pytest.raises(StoreUnavailable, match="a key has 2,002 characters"):
                await one.replication.opened(progress(0))
            assert one.replication.held == ()
            assert await one.store.sessions() == []

    asyncio.run(main())


def test_a_store_that_is_only_slow_is_waited_for_longer_than_values(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path, durable_ms=1) as one:
            await one.replication.opened(progress(0))
            one.parts.held.clear()
            answer = asyncio.create_task(one.replication.kept(progress()))
            asyncio.get_running_loop().call_later(0.02, one.parts.held.set)
            assert await answer == ()

    asyncio.run(main())


def test_who_waits_is_told_when_another_node_takes_the_session_and_the_node_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path) as one, node(tmp_path, "two") as two:
            await one.replication.opened(progress(0))
            await two.store.claim(SESSION, 2, "two")
            found = await asyncio.gather(*(one.replication.kept(progress()) for _ in range(3)), return_exceptions=True)
            assert [type(one) for one in found] == [SessionMoved] * 3
            assert one.moved == [SESSION]
            with pytest.raises(SessionMoved):
                one.replication.require(SESSION)

    asyncio.run(main())


def test_with_lag_an_answer_waits_for_the_one_before_and_looks_who_has_the_session(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path, durability="lag") as one, node(tmp_path, "two") as two:
            await one.replication.opened(progress(0))
            one.parts.held.clear()
            await one.replication.kept(progress(1))
            second = asyncio.create_task(one.replication.kept(progress(2)))
            await asyncio.wait({second}, timeout=0)
            assert not second.done()
            one.parts.held.set()
            assert await second == ()
            await one.replication.all_there(SESSION, 60.0)
            await two.store.claim(SESSION, 2, "two")
            with pytest.raises(SessionMoved):
                await one.replication.kept(progress(3))
            assert one.moved == [SESSION]

    asyncio.run(main())


def test_with_lag_a_step_does_not_wait_until_the_store_knows_that_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGUN_S", 0.0)
    monkeypatch.setattr(module, "LATE_S", 0.0)

    async def main() -> None:
        async with node(tmp_path, durability="lag", durable_ms=1) as one:
            await one.replication.opened(progress(0))
            one.parts.held.clear()
            one.replication.begun(SESSION)
            await until(lambda: one.replication._sessions[SESSION].is_behind)
            assert await one.replication.kept(progress(1)) == ()
            with pytest.raises(StoreUnavailable):  # one step is on this node alone by now
                await one.replication.kept(progress(2))

    asyncio.run(main())


def test_a_session_that_is_forgotten_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path) as one:
            await one.replication.opened(progress(0))
            one.parts.held.clear()
            answer = asyncio.create_task(one.replication.kept(progress()))
            await asyncio.wait({answer}, timeout=0)
            one.replication.forget(SESSION)
            with pytest.raises(SessionMoved):
                await answer

    asyncio.run(main())


def test_a_step_that_takes_a_while_is_told_to_the_store_before_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEGUN_S", 0.0)

    async def main() -> None:
        async with node(tmp_path) as one:
            await one.replication.opened(progress(0))
            one.replication.begun(SESSION)
            await until(lambda: len(one.parts.asked) == 2)

    asyncio.run(main())


def test_the_first_step_after_an_adoption_is_told_while_it_runs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has been answered of that session here, so that nobody has said yet how far it is."""
    monkeypatch.setattr(module, "BEGUN_S", 0.0)

    async def main() -> None:
        async with node(tmp_path) as one:
            await one.store.claim(SESSION, 2, "one")
            one.replication.take(SESSION, 2, None)
            one.replication.begun(SESSION)
            await until(lambda: len(one.parts.asked) == 1)
            assert await one.replication.kept(progress(1)) == ()

    asyncio.run(main())


def test_a_step_counts_as_begun_also_where_its_session_has_just_moved(tmp_path: Path) -> None:
    """Else whoever asked for it would be told that nothing was done, and have it run once more elsewhere."""

    async def main() -> None:
        async with node(tmp_path) as one, node(tmp_path, "two") as two:
            await one.replication.opened(progress(0))
            kept = one.replication.driven(SESSION)
            await two.store.claim(SESSION, 2, "two")
            with pytest.raises(SessionMoved):
                await one.replication.kept(progress())
            one.replication.begun(SESSION)
            assert kept.begins == 1

    asyncio.run(main())


def test_children_of_a_step_are_not_kept_for_others(tmp_path: Path) -> None:
    async def main() -> None:
        async with node(tmp_path) as one:
            await one.replication.opened(progress(0, "s_parent"))
            assert await one.replication.kept(progress(1, "s_parent")) == ()
            assert await one.store.newest(SESSION) is None
            assert one.parts.asked == []

    asyncio.run(main())
