"""An answer that a thread sends reaches the kernel whole and once, or is left to the event loop."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import pytest

from rlm_kernel_mcp.session.answering.questions import Answered, Failed
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.room import QuestionRoom
from rlm_kernel_mcp.session.asking.sending import AT_ONCE_BYTES, AtOnce, Sender
from rlm_kernel_mcp.session.asking.waiting import Moment

pytestmark = pytest.mark.anyio
WAIT_S: Final = 60.0
NOW: Final = Moment(7, 8)


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[KernelChannel, socket.socket]]:
    """A channel with the question 1, and the kernel's end."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    channel = KernelChannel(QuestionRoom())
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
    channel.sender.wire = ours
    channel.opened(1, 10)
    try:
        with theirs:
            yield channel, theirs
    finally:
        channel.close()


async def rows_from(end: socket.socket, count: int) -> list[Any]:
    """So many answers, as they come out of a kernel's end."""
    loop, data, rows = asyncio.get_running_loop(), b"", list[Any]()
    async with asyncio.timeout(WAIT_S):
        while len(rows) < count:
            data += await loop.sock_recv(end, 1 << 20)
            while len(data) >= 4 and len(data) >= (size := 4 + int.from_bytes(data[:4], "big")):
                rows += json.loads(data[4:size])["got"]
                data = data[size:]
    assert not data
    return rows


def of_thread(channel: KernelChannel, number: int = 1) -> AtOnce:
    return AtOnce(channel.sender, number, lambda: NOW)


async def test_a_thread_answers_a_question_that_is_open_and_no_other() -> None:
    """The question stays open until the loop, which hears of it later, has closed it."""
    async with opened() as (channel, kernel):
        one, other = of_thread(channel), of_thread(channel, 2)
        assert await asyncio.to_thread(one, Answered("x\u00e9"))
        assert not await asyncio.to_thread(other, Answered("y"))
        assert (one.moment, one.is_sent, other.moment, other.is_sent) == (NOW, True, None, False)
        assert channel.closed(1)
        assert not await asyncio.to_thread(late := of_thread(channel), Failed("declined", "no"))
        channel.give(2, True, "of the loop")
        assert await rows_from(kernel, 2) == [[1, True, "x\u00e9"], [2, True, "of the loop"]]
        assert not late.is_sent


@pytest.mark.parametrize("why", ["no-socket", "too-large", "unread", "no-room", "closed"])
async def test_what_would_have_to_wait_is_left_to_the_loop(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no thread had tried."""

    class Full:
        def send(self, _data: bytes, flags: int) -> int:
            assert flags == socket.MSG_DONTWAIT
            raise BlockingIOError

    async with opened() as (channel, _):
        text = "x" * AT_ONCE_BYTES if why == "too-large" else "x"
        if why in ("no-socket", "no-room"):
            monkeypatch.setattr(channel.sender, "wire", None if why == "no-socket" else cast(socket.socket, Full()))
        elif why == "unread":
            channel.sender.write(b"x" * (4 << 20))  # more than a socket takes
        elif why == "closed":
            channel.close()
        at_once = of_thread(channel)
        assert not await asyncio.to_thread(at_once, Answered(text))
        assert not at_once.is_sent
        assert channel.closed(1) == (why != "closed")


class Halving:
    """A socket that takes the beginning of what is sent."""

    def __init__(self, wire: socket.socket | None, at_once: AtOnce) -> None:
        assert wire is not None
        self.wire, self.at_once = wire, at_once

    def send(self, data: bytes, flags: int) -> int:
        assert self.at_once.is_sent  # its moment is noted before any of it goes
        return self.wire.send(data[:5], flags)


async def test_of_an_answer_that_went_in_part_the_rest_goes_before_all_others() -> None:
    """No system is known to do this to a small one."""
    async with opened() as (channel, kernel):
        at_once = of_thread(channel)
        channel.sender.wire = cast(socket.socket, Halving(channel.sender.wire, at_once))
        assert await asyncio.to_thread(at_once, Answered("first"))
        channel.opened(2, 10)
        assert not await asyncio.to_thread(of_thread(channel, 2), Answered("not between"))
        channel.closed(1)
        channel.closed(2)
        channel.give(2, True, "second")
        assert await rows_from(kernel, 2) == [[1, True, "first"], [2, True, "second"]]


async def test_the_rest_goes_also_where_the_loop_has_nothing_to_say() -> None:
    async with opened() as (channel, kernel):
        at_once = of_thread(channel)
        channel.sender.wire = cast(socket.socket, Halving(channel.sender.wire, at_once))
        assert await asyncio.to_thread(at_once, Answered("first"))
        channel.sender.write_rest()
        channel.sender.write_rest()
        assert await rows_from(kernel, 1) == [[1, True, "first"]]


class InHand(asyncio.Transport):
    """Has some of what it was given in hand, which its buffer has not meanwhile: so asyncio writes from Python 3.12."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    def write(self, data: Any) -> None:
        self.left = len(data)

    def get_write_buffer_size(self) -> int:
        return self.left


async def test_a_thread_sends_nothing_into_the_midst_of_what_the_loop_is_just_writing() -> None:
    """It goes on once the loop has seen that all is written."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = Sender(lambda number: True)
        sender.wire, sender.transport = ours, (transport := InHand())
        sender.write(b"more than the kernel has taken")
        transport.left = 0  # or it is in the loop's hand
        assert not sender.give_at_once(1, Answered("x"), lambda is_sent: None)
        sender.write(b"")
        assert sender.give_at_once(1, Answered("x"), lambda is_sent: None)
