"""A long text comes from a kernel that may lie about it, stop in its midst, or end: it comes whole, or not at all."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.errors import ContextTooLarge, KernelDied
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.kernel.untrusted.text_stream import TextPage
from rlm_kernel_mcp.session.answering.questions import Coming
from rlm_kernel_mcp.session.children import carrying
from rlm_kernel_mcp.session.children.carrying import Allowance, Carried, Carrier
from rlm_kernel_mcp.session.kernels import long_text
from tests.sessions import WAIT_S, until

pytestmark = pytest.mark.anyio
TEXT: Final = "Größe \ud800 😀\n" * 1_000
DATA: Final = TEXT.encode("utf-8", "surrogatepass")
Send = Callable[[int], Awaitable[None]]


class Carrying:
    """What one session's children have of the disk."""

    def __init__(self, directory: Path) -> None:
        self.spool, self.allowance = Spool(directory, 1 << 30), Allowance()
        self.carrier = Carrier("s_top", self.allowance, asyncio.Lock())

    async def carried(self, send: Send, chars: int = len(TEXT)) -> Carried:
        async with asyncio.timeout(WAIT_S):
            return await self.carrier.carried(Coming(chars, send), self.spool)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of any text is left."""
        return (self.spool.used_bytes, self.allowance.used_bytes) == (0, 0)


@pytest.fixture
def mine(tmp_path: Path) -> Carrying:
    return Carrying(tmp_path)


def sends(data: bytes = DATA) -> Send:
    """A kernel that writes this and closes its end."""

    async def send(writer: int) -> None:
        def write() -> None:
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(data)

        await asyncio.to_thread(write)

    return send


async def test_a_text_that_has_come_is_there_until_it_is_let_go(mine: Carrying) -> None:
    found = await mine.carried(sends())
    assert (found.text.chars, found.text.byte_count) == (len(TEXT), len(DATA))
    assert mine.allowance.used_bytes == mine.spool.used_bytes == len(DATA)
    found.release()
    assert mine.is_empty


@pytest.mark.parametrize(
    ("data", "chars", "why"),
    [
        pytest.param(DATA, len(TEXT) + 1, r"has 10,000 characters, and was said to have 10,001", id="fewer"),
        pytest.param(DATA, len(TEXT) - 1, r"has more than 9,999 characters", id="more"),
        pytest.param(b"", len(TEXT), "has 0 characters", id="nothing"),
        pytest.param(b"\xff" + DATA, len(TEXT), "not valid UTF-8", id="no-text"),
    ],
)
async def test_a_text_that_is_not_what_was_announced_is_not_taken(
    mine: Carrying, data: bytes, chars: int, why: str
) -> None:
    with pytest.raises(KernelDied, match=why):
        await mine.carried(sends(data), chars)
    assert mine.is_empty


async def test_a_kernel_that_sends_nothing_more_is_not_waited_for(
    mine: Carrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold its end of the pipe for ever."""
    monkeypatch.setattr(long_text, "READ_TIMEOUT_S", 0.0)
    held = list[int]()

    async def send(writer: int) -> None:
        held.append(writer)
        os.write(writer, DATA[:100])

    try:
        with pytest.raises(KernelDied, match="nothing more of it came"):
            await mine.carried(send)
    finally:
        os.close(held[0])
    assert mine.is_empty


async def test_a_kernel_that_is_gone_leaves_nothing(mine: Carrying) -> None:
    async def send(writer: int) -> None:
        os.close(writer)
        raise KernelDied("gone")

    with pytest.raises(KernelDied, match="gone"):
        await mine.carried(send)
    await until(lambda: mine.is_empty)


async def test_a_text_that_nobody_waits_for_any_more_leaves_nothing(mine: Carrying) -> None:
    """Neither half of one, nor one that has come meanwhile; and the next one has its turn."""
    held, has_begun = list[int](), asyncio.Event()

    async def send(writer: int) -> None:
        held.append(writer)
        os.write(writer, DATA[:100])
        has_begun.set()

    task = asyncio.create_task(mine.carried(send))
    await has_begun.wait()
    second = asyncio.create_task(mine.carried(sends()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (await second).release()
    os.close(held[0])
    await until(lambda: mine.is_empty)


async def test_a_text_begins_to_come_when_the_thread_of_the_one_before_has_ended(
    mine: Carrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel may ask for thousands, and give each up at once: it has one thread all the same."""
    may_end, has_begun, sent = threading.Event(), asyncio.Event(), list[str]()
    loop = asyncio.get_running_loop()

    def pages(reader: int, chars_max: int, stop: threading.Event) -> Iterator[TextPage]:
        loop.call_soon_threadsafe(has_begun.set)
        assert may_end.wait(WAIT_S)
        yield from ()
        raise StreamBroken("the stream does not end")

    async def second(writer: int) -> None:
        os.close(writer)
        sent.append("second")
        raise KernelDied("gone")

    async def never(writer: int) -> None:
        os.close(writer)
        await asyncio.Event().wait()

    monkeypatch.setattr(carrying, "pages_of", pages)
    first = asyncio.create_task(mine.carried(never))
    await has_begun.wait()
    first.cancel()
    following = asyncio.create_task(mine.carried(second))
    with pytest.raises(asyncio.CancelledError):
        await first
    for _ in range(10):
        await asyncio.sleep(0)
    assert sent == []
    may_end.set()
    with pytest.raises(KernelDied, match="gone"):
        await following
    assert sent == ["second"]
    await until(lambda: mine.is_empty)


async def test_the_texts_of_one_family_and_of_all_have_their_bounds(
    mine: Carrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they come, whatever was announced; what is let go of makes room."""
    monkeypatch.setattr(carrying, "FAMILY_BYTES_MAX", len(DATA) + 10)
    first = await mine.carried(sends())
    with pytest.raises(ContextTooLarge, match="The long texts of a session's children may have"):
        await mine.carried(sends())
    other = Carrier("s_other", mine.allowance, asyncio.Lock())
    second = await other.carried(Coming(len(TEXT), sends()), mine.spool)
    monkeypatch.setattr(carrying, "ALL_BYTES_MAX", 2 * len(DATA) + 10)
    third = Carrier("s_third", mine.allowance, asyncio.Lock())
    with pytest.raises(ContextTooLarge, match="the children of all sessions"):
        await third.carried(Coming(len(TEXT), sends()), mine.spool)
    first.release()
    (await mine.carried(sends())).release()
    second.release()
    assert mine.is_empty
