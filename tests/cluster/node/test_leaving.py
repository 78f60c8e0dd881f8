"""How sessions go from a node: released, drained, and what a node says that takes none."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.cluster.node.forgetting import Forgetting
from rlm_kernel_mcp.errors import NoRoom, SessionBusy, SessionMoved, SessionNotFound
from tests.cluster.node.nodes import here
from tests.sessions import until

pytestmark = pytest.mark.slow


def test_a_node_is_drained_as_its_steps_end(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "old", "new") as (old, new):
            idle, busy = await old.opened(), await old.opened()
            await old.step(idle, "x = 1")
            await old.data("rlm_run_repl", session_id=busy, code="y = 2\nwhile True: pass", wait_ms=0)
            await old.host.drain()
            assert old.host.held == (busy,)
            fullness = await old.fullness()
            assert fullness.draining
            assert list(fullness.staying) == [busy]
            assert "Step 1 of session" in fullness.staying[busy]
            with pytest.raises(NoRoom):
                await old.opened()
            with pytest.raises(SessionMoved):
                await old.step(idle, "x")
            with pytest.raises(SessionBusy):
                await old.release(busy)
            await old.data("rlm_interrupt", session_id=busy)
            await until(lambda: not old.host.held)
            await asyncio.gather(new.adopt(idle, 2), new.adopt(busy, 2))
            assert (await new.step(idle, "x"))["result"] == "1"
            assert (await new.step(busy, "y"))["result"] == "2"

    asyncio.run(main())


def test_a_node_that_is_drained_says_so_where_the_store_does_not_take_a_session(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "old", RLM_CLUSTER_DURABILITY="lag") as (old,):
            session_id = await old.opened()
            old.faults.errno = errno.ENOSPC
            await old.step(session_id, "x = 1")
            drain = asyncio.create_task(old.host.drain())
            await until(lambda: old.moves.staying != {})
            assert "is full" in (await old.fullness()).staying[session_id]
            old.faults.errno = 0
            await drain
            await until(lambda: not old.host.held)
            assert (await old.fullness()).staying == {}

    asyncio.run(main())


def test_a_node_whose_kernels_all_run_a_step_has_no_room(short_dir: Path) -> None:
    """Its router has another node open the session; where one is idle, that gives way as at home."""

    async def main() -> None:
        async with here(short_dir, "one", RLM_MAX_SESSIONS="1") as (one,):
            session_id = await one.opened()
            await one.data("rlm_run_repl", session_id=session_id, code="while True: pass", wait_ms=0)
            with pytest.raises(NoRoom):
                await one.opened()
            await one.data("rlm_interrupt", session_id=session_id)
            assert (await one.step(await one.opened(), "1"))["status"] == "ok"

    asyncio.run(main())


def test_a_released_session_leaves_nothing_on_its_node(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one") as (one,):
            session_id = await one.opened("a context that only this session has")
            await one.step(session_id, "x = 1")
            await one.release(session_id)
            fullness = await one.fullness()
            assert (fullness.sessions, fullness.live_kernels) == (0, 0)
            assert not list(one.registry.settings.state_dir.glob(f"snapshots/{session_id}*"))
            assert not one.registry.store.knows(session_id)
            await one.adopt(session_id, 2)
            report = await one.step(session_id, "(x, context)")
            assert report["result"] == "(1, 'a context that only this session has')"

    asyncio.run(main())


def test_a_node_whose_disk_takes_no_session_leaves_it_to_another(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "full", "two") as (one, full, two):
            session_id = await one.opened()
            await one.step(session_id, "x = 1")

            async def take_over(*_: object) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            monkeypatch.setattr(full.registry.handles.moves, "take_over", take_over)
            with pytest.raises(NoRoom, match="full cannot take session"):
                await full.adopt(session_id, 2)
            await two.adopt(session_id, 3)
            assert (await two.step(session_id, "x"))["result"] == "1"

    asyncio.run(main())


def test_a_node_adopts_no_session_that_the_cluster_does_not_have(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one") as (one,):
            with pytest.raises(SessionNotFound):
                await one.adopt("s_nobodys", 2)
            with pytest.raises(SessionMoved):
                await one.step("s_nobodys", "1")

    asyncio.run(main())


def test_a_session_that_is_removed_while_a_node_adopts_it_is_unknown_from_then_on(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was damaged for ever before: the claim of an empty session stayed."""

    async def main() -> None:
        async with here(short_dir, "one", "two") as (one, two):
            session_id = await one.opened()
            shared = two.host._shared
            claim = shared.claim

            async def claimed(*asked: Any) -> None:
                await shared.remove(session_id)
                await claim(*asked)

            monkeypatch.setattr(shared, "claim", claimed)
            with pytest.raises(SessionNotFound):
                await two.adopt(session_id, 2)
            assert await shared.sessions() == []
            assert two.host.held == ()

    asyncio.run(main())


def test_a_session_that_nobody_uses_any_more_leaves_the_shared_store(short_dir: Path) -> None:
    """By the row that a node writes, after a release, and after 30 days."""

    async def main() -> None:
        async with here(short_dir, "one") as (one,):
            old, driven = await one.opened(), await one.opened()
            await one.data("rlm_finalize", session_id=old, final_text="the answer")
            await one.release(old)
            later = datetime.now(UTC) + timedelta(days=30, seconds=1)
            is_driven = one.host.held.__contains__
            forgetting = Forgetting("one", 3_600, one.host._shared, is_driven, later.isoformat)
            assert await forgetting.once() == []
            assert await forgetting.once() == [old]
            with pytest.raises(SessionNotFound):
                await one.adopt(old, 2)
            assert (await one.step(driven, "1"))["status"] == "ok"

    asyncio.run(main())


def test_what_a_killed_node_left_on_its_disk_is_removed_by_the_next(short_dir: Path) -> None:
    async def main() -> None:
        left = short_dir / "state" / "nodes" / "one-0badcafe"
        left.mkdir(parents=True)
        left.with_name(f"{left.name}.lock").touch()
        async with here(short_dir, "one"), here(short_dir, "one"):
            assert not left.exists()
            assert len(list(left.parent.glob("one-*.lock"))) == 2  # those that live keep theirs
        assert not list(left.parent.iterdir())

    asyncio.run(main())
