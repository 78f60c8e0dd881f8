"""The host's end of the channel: how much it reads, how much it holds, and what ends it."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rlm_kernel_mcp.kernel.untrusted import cost
from rlm_kernel_mcp.kernel.untrusted.question_frames import Ask, Frame
from rlm_kernel_mcp.questions_wire import BATCH_MAX, FRAME_ITEMS_MAX
from rlm_kernel_mcp.session.asking import channel as channels
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.room import QuestionRoom

pytestmark = pytest.mark.anyio
WAIT_S = 60.0


class Kernel:
    """The other end, and what came of what it sent."""

    def __init__(self, end: socket.socket, channel: KernelChannel) -> None:
        self.end, self.channel = end, channel
        self.frames: list[Frame] = []
        self.full: list[bool] = []
        self.broken: list[str] = []
        self.closed = asyncio.Event()
        self._changed = asyncio.Event()
        self._numbers = 0
        channel.on_frame, channel.on_full, channel.on_broken = self._take, self._fill, self._break
        channel.on_closed = self.closed.set

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, Ask):
            for item in frame.items:
                self.channel.opened(item.id, item.size)
        self._changed.set()

    def _fill(self, full: bool) -> None:
        self.full.append(full)
        self._changed.set()

    def _break(self, reason: str) -> None:
        self.broken.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def questions(self, frames: int, text: str = "") -> bytes:
        made = b""
        for _ in range(frames):
            rows = []
            for _ in range(FRAME_ITEMS_MAX):
                self._numbers += 1
                rows.append([self._numbers, "p", text])
            made += framed({"ask": {"step": "s", "opts": {"batch": 1}, "items": rows}})
        return made

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.end, data)

    async def got(self, rows: int) -> list[list[Any]]:
        """So many answers, by whatever frames they come."""
        found: list[list[Any]] = []
        loop, buffer = asyncio.get_running_loop(), b""
        async with asyncio.timeout(WAIT_S):
            while len(found) < rows:
                buffer += await loop.sock_recv(self.end, 1 << 20)
                while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4], "big")):
                    found += json.loads(buffer[4 : 4 + size])["got"]
                    buffer = buffer[4 + size :]
        return found


def framed(said: object) -> bytes:
    data = json.dumps(said).encode()
    return len(data).to_bytes(4, "big") + data


@asynccontextmanager
async def opened(room: QuestionRoom | None = None) -> AsyncIterator[Kernel]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    channel = KernelChannel(room or QuestionRoom())
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
    try:
        with theirs:
            yield Kernel(theirs, channel)
    finally:
        channel.close()


async def test_answers_of_one_turn_go_together_and_in_order() -> None:
    async with opened() as kernel:
        for number in range(1, 4):
            kernel.channel.give(number, True, f"answer {number}")
        kernel.channel.give(4, False, {"code": "stopped", "message": "m"})
        assert await kernel.got(4) == [
            [1, True, "answer 1"],
            [2, True, "answer 2"],
            [3, True, "answer 3"],
            [4, False, {"code": "stopped", "message": "m"}],
        ]


async def test_no_more_is_read_than_may_be_open() -> None:
    """A flood waits in the kernel; an answer lets more in."""
    frames = BATCH_MAX // FRAME_ITEMS_MAX + 50
    async with opened() as kernel:
        sending = asyncio.create_task(kernel.send(kernel.questions(frames)))
        enough = -(-BATCH_MAX // FRAME_ITEMS_MAX)
        await kernel.until(lambda: len(kernel.frames) == enough)
        await asyncio.wait({sending}, timeout=0)
        assert len(kernel.channel.open_ids) == enough * FRAME_ITEMS_MAX
        for number in kernel.channel.open_ids:
            assert kernel.channel.closed(number)
            assert not kernel.channel.closed(number)
        await kernel.until(lambda: len(kernel.frames) == frames)
        await sending


async def test_the_bytes_of_all_sessions_are_bounded_together() -> None:
    """One session's questions keep those of another waiting, until there is room again."""
    room = QuestionRoom(most=10_000)
    async with opened(room) as first, opened(room) as second:
        await first.send(first.questions(1, "x" * 200))
        await first.until(lambda: len(first.frames) == 1)
        assert room.is_full
        sending = asyncio.create_task(second.send(second.questions(1)))
        await sending
        await first.send(framed({"cancel": [1]}))
        assert (second.frames, len(first.frames)) == ([], 1)
        first.channel.close()
        await second.until(lambda: len(second.frames) == 1)
        assert not room.is_full


async def test_who_had_too_much_open_goes_on_once_others_leave_the_room_that_they_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It did not wait for the room at first, and has nothing open any more whose end would have it look again."""
    monkeypatch.setattr(channels, "BATCH_MAX", 1)
    room = QuestionRoom(most=1_000)
    async with opened(room) as kernel:
        for number in (1, 2):
            await kernel.send(framed({"ask": {"step": "s", "opts": {"batch": 1}, "items": [[number, "p", None]]}}))
        await kernel.until(lambda: len(kernel.frames) == 1)
        room.take(1_000)
        assert kernel.channel.closed(1)
        room.give_back(1_000)
        await kernel.until(lambda: len(kernel.frames) == 2)


async def test_a_kernel_that_does_not_take_its_answers_is_asked_for_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked further, and nothing is read, until it takes them."""
    monkeypatch.setattr(channels, "OUT_BYTES_MAX", 100_000)
    async with opened() as kernel:
        for number in range(1, 21):
            kernel.channel.give(number, True, "x" * 50_000)
        await kernel.until(lambda: kernel.full == [True])
        await kernel.send(framed({"budget": 1}))
        assert len(await kernel.got(20)) == 20
        await kernel.until(lambda: kernel.full == [True, False] and len(kernel.frames) == 1)


async def test_answers_that_are_not_taken_are_held_once_however_often_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One answer to 10,000 equal questions is one text, and not 10,000 times its bytes; all of them come in the end."""
    monkeypatch.setattr(channels, "OUT_BYTES_MAX", 100_000)
    answer = "x" * 100_000
    async with opened() as kernel:
        for number in range(1, 201):
            kernel.channel.give(number, True, answer)
        await kernel.until(lambda: kernel.full == [True])
        transport = kernel.channel.sender.transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 3_000_000
        found = await kernel.got(200)
        assert [row[0] for row in found] == [*range(1, 201)]
        assert {row[2] for row in found} == {answer}
        await kernel.until(lambda: kernel.full == [True, False])


async def test_what_is_no_frame_ends_it_and_what_was_open_takes_no_room() -> None:
    room = QuestionRoom(most=1)
    async with opened(room) as kernel:
        await kernel.send(kernel.questions(1))
        await kernel.until(lambda: bool(kernel.frames))
        for number in kernel.channel.open_ids:
            kernel.channel.closed(number)
        await kernel.send(b"\xff" * 100)
        await kernel.until(lambda: bool(kernel.broken))
        assert "on the channel of its questions" in kernel.broken[0]
        assert not room.is_full
        assert kernel.channel.open_ids == []


async def test_questions_that_cost_this_process_too_much_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are; a grant begins the account anew."""
    monkeypatch.setattr(cost, "COST_S", 0.2)
    monkeypatch.setattr(channels, "COST_S", 0.2)
    monkeypatch.setattr(cost, "COST_SHARE", 0.0)
    async with opened() as kernel:

        def work(frame: Frame) -> None:
            end = time.thread_time() + 0.15
            while time.thread_time() < end:
                pass
            kernel._take(frame)

        kernel.channel.on_frame = work
        for number in range(1, 4):
            await kernel.send(framed({"budget": number}))
            await kernel.until(lambda number=number: len(kernel.frames) == number)  # type: ignore[misc]
            kernel.channel.grant()
        assert kernel.broken == []
        for number in range(4, 6):
            await kernel.send(framed({"budget": number}))
        await kernel.until(lambda: bool(kernel.broken))
        assert "of the server's processor time" in kernel.broken[0]


async def test_a_kernel_that_closes_its_end_is_heard_of() -> None:
    async with opened() as kernel:
        kernel.end.close()
        async with asyncio.timeout(WAIT_S):
            await kernel.closed.wait()
        kernel.channel.give(1, True, "nobody reads this")


async def test_an_answer_goes_at_once_where_nothing_else_is_open_and_else_with_the_others_of_its_turn() -> None:
    """A turn of the loop more is a tenth of a question's way; and thousands of small frames are more yet."""
    async with opened() as kernel:
        for number in (1, 2):
            kernel.channel.opened(number, 1)
        for number in (1, 2):
            with pytest.raises(BlockingIOError):
                kernel.end.recv(1)
            kernel.channel.closed(number)
            kernel.channel.give(number, True, f"answer {number}")
        assert kernel.end.recv(1 << 10) == framed({"got": [[1, True, "answer 1"], [2, True, "answer 2"]]})


async def test_what_is_answered_while_frames_are_taken_goes_in_one_frame_behind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None of it is ever open: the answers were kept, or all of it is refused."""
    monkeypatch.setattr(channels, "TURN_S", math.inf)  # of the clock: a busy machine may let it pass between two
    async with opened() as kernel:

        def answer(frame: Frame) -> None:
            assert isinstance(frame, Ask)
            for item in frame.items:
                kernel.channel.give(item.id, True, "kept")

        kernel.channel.on_frame = answer
        await kernel.send(kernel.questions(3))
        count = 3 * FRAME_ITEMS_MAX
        async with asyncio.timeout(WAIT_S):
            data = await asyncio.get_running_loop().sock_recv(kernel.end, 1 << 20)
        assert data == framed({"got": [[number, True, "kept"] for number in range(1, count + 1)]})


async def test_whoever_gives_an_answer_is_told_nothing_in_the_midst_of_it() -> None:
    """A sender that is told to go on while it goes through its queue would take the same question twice."""
    async with opened() as kernel:
        kernel.channel._is_behind = True  # the kernel has just taken all that it had not
        kernel.channel.give(1, True, "answer")
        assert kernel.full == []
        await kernel.until(lambda: kernel.full == [False])
