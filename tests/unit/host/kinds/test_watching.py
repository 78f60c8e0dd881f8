"""A watcher's connection: events go out, nothing comes in, and one that does not read holds up nobody."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.front.front import PROOF_NAME, NoHost
from rlm_kernel_mcp.host.entry.confinement import Peer
from rlm_kernel_mcp.host.entry.handshake import Asked
from rlm_kernel_mcp.host.kinds.watching import Watchers
from rlm_kernel_mcp.session.watching.events import EVENT_BYTES_MAX, Event
from rlm_kernel_mcp.session.watching.feeds import QUEUE_BYTES_MAX, WATCHERS_MAX, Feeds

pytestmark = pytest.mark.anyio
WAIT_S: Final = 60
NOBODY: Final = Peer(1, os.getuid(), -1)
NUMBERED: Final = 5_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Watched:
    """One watcher, both ends of whose connection are here."""

    def __init__(self, state: Path, feeds: Feeds) -> None:
        self.feeds = feeds
        self._proof = os.open(state / PROOF_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        self.host_end, self.watcher = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.host_end.setblocking(False)
        self.watcher.setblocking(False)
        serve = Watchers(feeds).prepared(asked(state, "s_1"), [self._proof])
        self.serving = asyncio.ensure_future(serve(self.host_end, NOBODY))

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            found = json.loads(await asyncio.get_running_loop().sock_recv(self.watcher, 1 << 18))
        assert isinstance(found, dict)
        return found

    def publish(self, event: Event) -> None:
        feed = self.feeds.of("s_1")
        assert feed is not None
        feed.publish(event)

    async def ended(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.serving

    def close(self) -> None:
        for end in (self.host_end, self.watcher):
            end.close()
        os.close(self._proof)


def asked(state: Path, *words: str) -> Asked:
    return Asked("watch", "", "", "", str(state), words)


@pytest.fixture
async def watched(tmp_path: Path) -> Any:
    with closing(Watched(tmp_path, Feeds())) as made:
        assert (await made.hear())["type"] == "watching"
        yield made
        made.serving.cancel()
        await asyncio.wait({made.serving})


def ended(number: int, reason: str = "") -> Event:
    return {"type": "kernel_ended", "ts": str(number), "reason": reason}


async def test_events_come_in_their_order(watched: Watched) -> None:
    for number in range(3):
        watched.publish(ended(number))
    assert [(await watched.hear())["ts"] for _ in range(3)] == ["0", "1", "2"]


async def test_the_largest_event_passes(watched: Watched) -> None:
    reason = "x" * (EVENT_BYTES_MAX - 100)
    watched.publish(ended(1, reason))
    assert (await watched.hear())["reason"] == reason


async def test_an_event_that_the_system_does_not_pass_counts_as_one_that_was_missed(watched: Watched) -> None:
    watched.host_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
    watched.publish(ended(1, "x" * 100_000))
    watched.publish(ended(2))
    assert await watched.hear() == {"type": "dropped", "events": 1}
    assert (await watched.hear())["ts"] == "2"


async def test_whatever_a_watcher_says_ends_it(watched: Watched) -> None:
    watched.watcher.send(b'{"type":"interrupt"}')
    await watched.ended()
    assert watched.feeds.count == 0


async def test_one_that_goes_is_forgotten(watched: Watched) -> None:
    watched.watcher.close()
    await watched.ended()
    assert watched.feeds.of("s_1") is None


async def test_one_that_does_not_read_has_a_bounded_number_waiting_and_hears_later_how_many_it_missed(
    watched: Watched,
) -> None:
    """Whoever publishes has gone on long before."""
    for number in range(NUMBERED):
        watched.publish(ended(number, "x" * 1_000))
    heard = [await watched.hear()]
    while heard[-1]["type"] != "dropped":
        heard.append(await watched.hear())
    kept = heard[:-1]
    assert [event["ts"] for event in kept] == [str(number) for number in range(len(kept))]
    assert len(kept) * 1_000 <= QUEUE_BYTES_MAX
    assert len(kept) + heard[-1]["events"] == NUMBERED
    watched.publish(ended(-1))
    assert (await watched.hear())["ts"] == "-1"


async def test_one_too_many_is_let_go_and_the_others_stay(watched: Watched, tmp_path: Path) -> None:
    with ExitStack() as others, closing(Watched(tmp_path, watched.feeds)) as more:
        for _ in range(WATCHERS_MAX - 1):
            others.enter_context(watched.feeds.watch("s_2"))
        await more.ended()
        assert watched.feeds.count == WATCHERS_MAX


@pytest.fixture
def proof(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / PROOF_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("words", [(), ("",), ("s_1", "s_2"), ("s" * 65,)])
async def test_it_names_one_session(tmp_path: Path, proof: int, words: tuple[str, ...]) -> None:
    with pytest.raises(NoHost, match="names one session"):
        Watchers(Feeds()).prepared(asked(tmp_path, *words), [proof])


async def test_it_shows_that_it_may_read_the_records(tmp_path: Path, proof: int) -> None:
    watchers = Watchers(Feeds())
    with pytest.raises(NoHost, match="shows that it may read the records"):
        watchers.prepared(asked(tmp_path, "s_1"), [])
    with pytest.raises(NoHost), (tmp_path / "other").open("w+b") as other:
        watchers.prepared(asked(tmp_path, "s_1"), [other.fileno()])
    with pytest.raises(NoHost), (tmp_path / PROOF_NAME).open("rb") as only_read:
        watchers.prepared(asked(tmp_path, "s_1"), [only_read.fileno()])
    watchers.prepared(asked(tmp_path, "s_1"), [proof])
