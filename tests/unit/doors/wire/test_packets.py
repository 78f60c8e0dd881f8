"""Messages come out as they went in, and what is none, or too large, ends a connection and nothing else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.doors.wire.packets import PACKET_BYTES, PARTS_MAX, BadMessage, Outbox, Packets

pytestmark = pytest.mark.anyio
BYTES_MAX: Final = 1 << 20


@pytest.fixture
async def ends() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        yield ours, theirs


@asynccontextmanager
async def others_running() -> AsyncIterator[Counter[str]]:
    """Counts the turns that another task has of the loop meanwhile."""
    turns = Counter[str]()

    async def count() -> None:
        while True:
            turns["turns"] += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    try:
        yield turns
    finally:
        counting.cancel()
        await asyncio.wait([counting])


@pytest.mark.parametrize(
    "parts",
    [[b""], [b"", b""], [b"a"], [b"x" * PACKET_BYTES], [b"x" * (PACKET_BYTES + 1), b"", b"y"], [b"x" * 900_000] * 1],
)
async def test_parts_come_as_they_were_sent(ends: tuple[socket.socket, socket.socket], parts: list[bytes]) -> None:
    ours, theirs = Packets(ends[0], BYTES_MAX), Packets(ends[1], BYTES_MAX)
    for _ in range(2):
        sending = asyncio.create_task(ours.send(parts))
        assert await theirs.receive() == parts
        await sending


async def test_the_end_of_the_other_end_is_no_message(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].send(b"\0half a message")
    ends[0].close()
    assert await Packets(ends[1], BYTES_MAX).receive() == []


@pytest.mark.parametrize("packet", [b"\3x", b"x", b"\2" + b"x" * (PACKET_BYTES + 1), b"\2" + b"x" * 100_000])
async def test_what_is_no_packet_is_refused(ends: tuple[socket.socket, socket.socket], packet: bytes) -> None:
    ends[0].send(packet)
    with pytest.raises(BadMessage, match="no packet"):
        await Packets(ends[1], BYTES_MAX).receive()


async def test_descriptors_that_come_with_a_message_are_given_back_and_end_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Without room for them they would be closed within the read, which waits for whoever stands behind them."""
    given_back = list[int]()
    with Path(os.devnull).open("rb") as file:  # noqa: ASYNC230
        socket.send_fds(ends[0], [b"\2x"], [file.fileno()] * 253)
        with pytest.raises(BadMessage, match="descriptors came"):
            await Packets(ends[1], BYTES_MAX, given_back.extend).receive()
        assert len(given_back) == 253
        assert os.path.sameopenfile(given_back[0], file.fileno())
        assert not any(map(os.get_inheritable, given_back))
    for descriptor in given_back:
        os.close(descriptor)


async def test_a_message_that_does_not_end_is_read_up_to_the_bound(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Whoever sends it has no more of our memory than that."""
    sending = asyncio.create_task(Packets(ends[0], 0).send([b"x" * (2 * BYTES_MAX)]))
    with pytest.raises(BadMessage, match="1,048,576 bytes"):
        await Packets(ends[1], BYTES_MAX).receive()
    sending.cancel()
    await asyncio.wait([sending])


async def test_parts_without_end_have_a_bound_too(ends: tuple[socket.socket, socket.socket]) -> None:
    sending = asyncio.create_task(Packets(ends[0], 0).send([b""] * (PARTS_MAX + 2)))
    with pytest.raises(BadMessage, match="65,536 parts"):
        await Packets(ends[1], BYTES_MAX).receive()
    sending.cancel()
    await asyncio.wait([sending])


async def test_one_small_message_after_another_lets_others_run(ends: tuple[socket.socket, socket.socket]) -> None:
    """Whoever sends them faster than they are read would keep the loop for good."""
    for _ in range(20):
        ends[0].send(b"\2x")
    packets = Packets(ends[1], BYTES_MAX)
    async with others_running() as turns:
        for _ in range(20):
            assert await packets.receive() == [b"x"]
    assert turns.total() >= 20


async def test_a_message_in_pieces_lets_others_run(ends: tuple[socket.socket, socket.socket]) -> None:
    """A fast reader and a fast writer never wait for each other, and so would keep the loop."""
    async with others_running() as turns:
        sending = asyncio.create_task(Packets(ends[0], 0).send([b"x" * (8 * PACKET_BYTES)]))
        await Packets(ends[1], BYTES_MAX).receive()
    await asyncio.wait([sending])
    assert turns.total() >= 8


class Watching:
    """Counts how often a loop begins to look at something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self._loop = asyncio.get_running_loop()
        self._add = self._loop.add_reader
        monkeypatch.setattr(self._loop, "add_reader", self._begin)

    def _begin(self, *args: Any) -> None:
        self.begun += 1
        self._add(*args)

    def ends(self, wire: socket.socket) -> bool:
        """Whether it looks no more; ends that."""
        return not self._loop.remove_reader(wire)


async def test_whoever_waits_for_one_message_after_another_is_looked_for_once(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To begin and end the look for each message would take longer than the message."""
    packets, watching = Packets(ends[1], BYTES_MAX), Watching(monkeypatch)
    heard = asyncio.Queue[list[bytearray]]()

    async def hear() -> None:
        while True:
            heard.put_nowait(await packets.receive())

    hearing = asyncio.create_task(hear())
    for number in range(20):
        ends[0].send(b"\2%d" % number)
        assert await heard.get() == [b"%d" % number]
    assert watching.begun == 1
    hearing.cancel()
    await asyncio.wait([hearing])
    assert watching.ends(ends[1])


async def test_nothing_is_looked_for_where_nobody_waits_and_nothing_read_is_lost(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that is told again and again of what nobody takes would do nothing else."""
    packets, watching = Packets(ends[1], BYTES_MAX), Watching(monkeypatch)
    for number in range(5):
        ends[0].send(b"\2%d" % number)
    assert await packets.receive() == [b"0"]
    for _ in range(5):
        await asyncio.sleep(0)
    assert watching.ends(ends[1])
    assert packets.is_ahead
    assert [await packets.receive() for _ in range(4)] == [[b"%d" % number] for number in range(1, 5)]


async def test_a_message_of_one_packet_is_taken_as_it_comes_and_no_part_of_a_larger_one(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """Nor one that comes while those before it are not received: they stay in their order."""
    ours, theirs = Packets(ends[0], BYTES_MAX), Packets(ends[1], BYTES_MAX)
    offered = list[bytes]()

    def take(packet: bytes) -> bool:
        offered.append(packet)
        return packet.startswith(b"take")

    theirs.take = take
    for parts in ([b"take 0"], [b"take 1"], [b"a", b"take"], [b"take 2"], [b"b"]):
        await ours.send(parts)
    theirs._look()  # and nobody receives just now
    async with asyncio.timeout(60):
        assert [await theirs.receive() for _ in range(3)] == [[b"take 0"], [b"a", b"take"], [b"b"]]
    assert offered == [b"take 1", b"take 2", b"b"]


async def test_a_message_of_a_thread_comes_between_no_parts_of_another_one_and_after_no_end(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = Packets(ends[0], BYTES_MAX), Packets(ends[1], BYTES_MAX)
    outbox, sent = Outbox(ours), asyncio.Event()
    assert await asyncio.to_thread(outbox.sent_at_once, [b"first"])
    assert not await asyncio.to_thread(outbox.sent_at_once, [b"of two", b"parts"])
    outbox.put([b"x" * 900_000], sent.set)
    assert not await asyncio.to_thread(outbox.sent_at_once, [b"between"])
    sending = asyncio.create_task(outbox.run())
    async with asyncio.timeout(60):
        assert await theirs.receive() == [b"first"]
        assert await theirs.receive() == [b"x" * 900_000]
        await sent.wait()
        await asyncio.sleep(0)
        assert await asyncio.to_thread(outbox.sent_at_once, [b"last"])
        assert await theirs.receive() == [b"last"]
    outbox.let_go()
    assert not await asyncio.to_thread(outbox.sent_at_once, [b"never"])
    sending.cancel()
    await asyncio.wait([sending])
