"""A page is told a session by its record, and by a host where there is one; a reader that rests costs nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import anyio
import pytest

from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.live.host_feed import HostFeed
from rlm_kernel_mcp.watching.live.session_stream import NEEDS_HOST, Sent, SessionStream
from rlm_kernel_mcp.watching.record.history import History
from tests.unit.watching.recorded import Recorded

pytestmark = pytest.mark.anyio

Act = Callable[[], list[dict[str, Any]]]
WAIT_S = 60.0
HERE = {"type": "watching", "session": "s_1", "here": True}


class Script(HostFeed):
    """In place of a host: what is done, and then told."""

    def __init__(self, *acts: Act) -> None:
        super().__init__({"RLM_HOST": "off"}, "s_1")
        self.acts, self.is_closed = list(acts), False
        self._is_there = False

    @property
    def is_connected(self) -> bool:
        return self._is_there

    def connect(self) -> None:
        self._is_there = bool(self.acts)
        self.refused = "" if self._is_there else "RLM_HOST is off"

    async def come(self) -> list[dict[str, Any]]:
        if not self.acts:
            self._is_there = False
            return []
        return self.acts.pop(0)()

    def close(self) -> None:
        self.is_closed = True


def streamed(store: Store, feed: HostFeed) -> AsyncGenerator[Sent, None]:
    return SessionStream(store, feed, History(store, "s_1")).messages()


async def all_of(messages: AsyncGenerator[Sent, None]) -> list[Any]:
    with anyio.fail_after(WAIT_S):
        return [sent.message async for sent in messages]


def kinds(messages: list[Any]) -> list[str]:
    return [message["type"] for message in messages]


async def test_a_session_that_has_ended_is_told_without_a_host(session: Recorded, store: Store) -> None:
    session.step()
    session.finalize()
    feed = Script()
    found = await all_of(streamed(store, feed))
    assert kinds(found) == ["head", "state", "events", "events", "map", "end"]
    assert found[1]["words"] == ""
    assert feed.is_closed


async def test_a_running_step_is_told_as_it_prints(session: Recorded, store: Store) -> None:
    rows: list[int] = []

    def begins() -> list[dict[str, Any]]:
        rows.append(session.begin("print(1)"))
        told = {"type": "begin", "id": str(rows[0]), "step": 1, "code": "print(1)", "code_chars": 8, "elapsed_ms": 0}
        return [HERE, told]

    def prints() -> list[dict[str, Any]]:
        return [{"type": "output", "step": 1, "stream": "stdout", "at": 0, "text": "1\n"}]

    def ends() -> list[dict[str, Any]]:
        session.end(rows[0], stdout="1\n")
        session.finalize()
        return [{"type": "step", "id": str(rows[0]), "step": 1}]

    found = await all_of(streamed(store, Script(begins, prints, ends)))
    assert [kind for kind in kinds(found) if kind not in ("state", "events", "map")] == [
        "head",
        "begin",
        "output",
        "event",
        "event",
        "end",
    ]


async def test_without_a_host_it_says_that_live_output_needs_one(session: Recorded, store: Store) -> None:
    row_id = session.begin()
    session.journal.step_goes_on(row_id, 1_000, "so far", "")
    messages = streamed(store, Script())
    with anyio.fail_after(WAIT_S):
        found: list[Any] = []
        async for sent in messages:
            found.append(sent.message)
            if sent.message["type"] == "state" and sent.message["words"]:
                break
    await messages.aclose()
    assert found[-1]["words"] == f"RLM_HOST is off; {NEEDS_HOST}"
    assert [message["so_far"] for message in found if message["type"] == "begin"] == ["so far"]


async def test_with_a_host_that_has_the_session_it_says_so(session: Recorded, store: Store) -> None:
    session.begin()

    class Waiting(Script):
        """A host that has told where the session is, and nothing more."""

        async def come(self) -> list[dict[str, Any]]:
            if self.acts:
                return self.acts.pop(0)()
            await anyio.sleep_forever()
            return []

    messages = streamed(store, Waiting(lambda: [HERE]))
    with anyio.fail_after(WAIT_S):
        async for sent in messages:
            if sent.message["type"] == "state" and sent.message["live"]:
                assert (sent.message["words"], sent.message["status"]) == ("", "running")
                break
    await messages.aclose()


async def test_a_reader_that_leaves_takes_its_connection_along(session: Recorded, store: Store) -> None:
    feed = Script(lambda: [HERE])
    messages = streamed(store, feed)
    assert (await anext(messages)).message["type"] == "head"
    await messages.aclose()
    assert feed.is_closed


async def test_nothing_is_read_for_a_reader_that_does_not_read(session: Recorded, store: Store) -> None:
    """What a host tells waits at the host, which has a bound for it."""
    feed = Script(*[lambda: [HERE]] * 5)
    messages = streamed(store, feed)
    for _ in range(2):
        await anext(messages)
    await anyio.lowlevel.checkpoint()
    assert len(feed.acts) == 5
    await messages.aclose()
