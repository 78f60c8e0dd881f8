"""Which sessions leave the shared store, and when: by their own rows, and a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rlm_kernel_mcp.cluster.node.forgetting import Forgetting
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import Frame, SharedStore
from rlm_kernel_mcp.store.carrying.rows import body_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Clock:
    store: SharedStore
    now: datetime = BEGIN
    driven: set[str] = field(default_factory=set)

    def node(self, name: str, idle_timeout_s: float = 3_600) -> Forgetting:
        """What a node of that name does."""
        return Forgetting(name, idle_timeout_s, self.store, self.driven.__contains__, self.now_iso)

    def now_iso(self) -> str:
        """The time."""
        return self.now.isoformat()

    async def used(self, session_id: str, node: str, last_used_at: str | None = None) -> None:
        """A session that was used last as all of this began."""
        await self.store.claim(session_id, 1, node)
        said = BEGIN.isoformat(timespec="milliseconds").replace("+00:00", "Z") if last_used_at is None else last_used_at
        row = body_of("sessions", {"session_id": session_id, "last_used_at": said})
        await self.store.append(session_id, 1, [Frame(1, "row:sessions", row)])

    def later(self, **passed: float) -> None:
        self.now = BEGIN + timedelta(**passed)


@asynccontextmanager
async def clock(where: Path) -> AsyncIterator[Clock]:
    store = open_store(str(where / "store"), within_s=60)
    try:
        yield Clock(store)
    finally:
        await store.close()


def test_what_nobody_has_used_for_as_long_as_at_home_is_removed_by_the_node_that_had_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with clock(tmp_path) as now:
            await now.used("s_a", "one")
            node = now.node("one")
            now.later(days=29)
            assert [await node.once() for _ in range(3)] == [[], [], []]
            now.later(days=30, seconds=1)
            assert await node.once() == ["s_a"]
            assert await now.store.sessions() == []

    asyncio.run(main())


def test_another_node_waits_a_day_longer(tmp_path: Path) -> None:
    async def main() -> None:
        async with clock(tmp_path) as now:
            await now.used("s_a", "gone")
            node = now.node("one")
            now.later(days=30, hours=23)
            assert [await node.once() for _ in range(2)] == [[], []]
            now.later(days=31, seconds=1)
            assert await node.once() == ["s_a"]

    asyncio.run(main())


def test_a_session_that_a_node_drives_or_has_just_claimed_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with clock(tmp_path) as now:
            await now.used("s_driven", "one")
            await now.used("s_claimed", "one")
            now.driven.add("s_driven")
            node = now.node("one")
            now.later(days=40)
            assert await node.once() == []
            await now.store.claim("s_claimed", 2, "one")  # as an adoption does, before the node drives it
            assert await node.once() == []
            now.driven.clear()
            assert await node.once() == ["s_claimed", "s_driven"]

    asyncio.run(main())


def test_a_node_whose_kernels_may_be_idle_for_longer_keeps_sessions_for_longer(tmp_path: Path) -> None:
    async def main() -> None:
        async with clock(tmp_path) as now:
            await now.used("s_a", "one")
            node = now.node("one", idle_timeout_s=50 * 86_400)
            now.later(days=49)
            assert [await node.once() for _ in range(2)] == [[], []]
            now.later(days=50, seconds=1)
            assert await node.once() == ["s_a"]

    asyncio.run(main())


def test_a_row_that_does_not_say_when_it_was_used_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with clock(tmp_path) as now:
            await now.used("s_a", "one", "long ago")
            node = now.node("one")
            now.later(days=4_000)
            assert [await node.once() for _ in range(2)] == [[], []]

    asyncio.run(main())
