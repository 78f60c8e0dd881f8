"""Sessions that nobody needs leave a store, and never one that somebody uses just then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from rlm_kernel_mcp.cluster.shared.protocol import Claim
from rlm_kernel_mcp.errors import SessionMoved, StoreUnavailable
from tests.unit.cluster.shared.stores import SESSION, frame, opened, read, taken_over

OTHER = "s_other"


@dataclass
class Says:
    """`Judge`: what is `old` goes. `at`: called before each answer, in the store's thread."""

    at: Callable[[], object] = lambda: None
    key: str = "row"
    asked: list[Claim] = field(default_factory=list)

    def may_go(self, claim: Claim) -> bool:
        return claim.session_id != "s_its"

    def goes(self, claim: Claim, body: bytes) -> bool:
        self.asked.append(claim)
        self.at()
        return body == b"old"


def test_what_is_judged_to_be_old_is_removed_and_nothing_else(where: str) -> None:
    async def main() -> None:
        async with opened(where) as store, opened(where) as sweeper:
            for session_id, body in ((SESSION, b"old"), (OTHER, b"new"), ("s_none", None)):
                await store.claim(session_id, 1, "one")
                await store.append(session_id, 1, [frame("row", body), frame("value", b"v")])
            await sweeper.claim("s_its", 1, "two")
            judge = Says()
            assert await sweeper.forget("two", judge) == [SESSION]
            assert judge.asked.count(Claim(SESSION, 1, "one")) == 2
            assert [claim.session_id for claim in await store.sessions()] == ["s_its", "s_none", OTHER]
            assert await store.newest(SESSION) is None
            with pytest.raises(SessionMoved):
                await store.append(SESSION, 1, [frame("row", b"late")])
            await store.append(OTHER, 1, [frame("row", b"newer")])

    asyncio.run(main())


def test_what_is_used_between_two_looks_stays_with_all_that_was_acknowledged(where: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with opened(where) as store, opened(where) as sweeper:
            await sweeper.claim("s_its", 1, "two")
            await store.claim(SESSION, 1, "one")
            await store.append(SESSION, 1, [frame("row", b"old"), frame("value", b"v")])

            def use() -> None:
                if len(judge.asked) == 1:
                    used = store.append(SESSION, 1, [frame("row", b"used")])
                    asyncio.run_coroutine_threadsafe(used, loop).result(60)

            judge = Says(use)
            assert await sweeper.forget("two", judge) == []
            assert len(judge.asked) == 2
            newest = await store.newest(SESSION)
            assert newest == Claim(SESSION, 1, "one")
            assert await taken_over(store, 2) == {"row": b"used", "value": b"v"}

    asyncio.run(main())


def test_what_somebody_claims_between_two_looks_is_his(where: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with opened(where) as store, opened(where) as sweeper:
            await sweeper.claim("s_its", 1, "two")
            await store.claim(SESSION, 1, "one")
            await store.append(SESSION, 1, [frame("row", b"old")])

            def claim() -> None:
                asyncio.run_coroutine_threadsafe(store.claim(SESSION, 2, "one"), loop).result(60)

            judge = Says(claim)
            assert await sweeper.forget("two", judge) == []
            assert await read(store, 2) == {"row": b"old"}
            await store.append(SESSION, 2, [frame("row", b"used")])

    asyncio.run(main())


def test_a_session_that_was_cut_off_as_it_was_taken_over_goes_too(where: str) -> None:
    """Its newest claim has nothing yet: what counts is the one before."""

    async def main() -> None:
        def die(line: str) -> None:
            if line == "claim_sealed":
                raise OSError(5, "the end")

        async with opened(where) as store, opened(where, die) as dying, opened(where) as sweeper:
            await sweeper.claim("s_its", 1, "two")
            await store.claim(SESSION, 1, "one")
            await store.append(SESSION, 1, [frame("row", b"old")])
            with pytest.raises(Exception, match="the end"):
                await dying.claim(SESSION, 2, "two")
            assert await sweeper.forget("two", Says()) == [SESSION]
            assert await store.newest(SESSION) is None

    asyncio.run(main())


def test_a_process_that_ends_while_it_removes_a_session_leaves_it_to_the_next(where: str) -> None:
    """Of what it left the one who uses the session finds everything, and the one who removes it removes everything."""

    async def main() -> None:
        def end() -> None:
            if judge.asked.count(Claim(session_id, 1, "one")) == 2:
                raise OSError(5, "the end")

        async with opened(where) as store, opened(where) as ending, opened(where) as sweeper:
            for session_id in (SESSION, OTHER):
                await store.claim(session_id, 1, "one")
                await store.append(session_id, 1, [frame("row", b"old")])
                judge = Says(end)
                with pytest.raises(StoreUnavailable, match="the end"):
                    await ending.forget("two", judge)
                newest = await store.newest(session_id)
                assert newest == Claim(session_id, 2, "two")
                if session_id == SESSION:
                    assert await taken_over(store, 3) == {"row": b"old"}
                    await store.append(SESSION, 3, [frame("row", b"used")])
            assert await sweeper.forget("three", Says()) == [OTHER]
            assert [claim.session_id for claim in await store.sessions()] == [SESSION]

    asyncio.run(main())
