"""A program without an event loop has one in a thread: what it calls, cancels and ends there."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.doors.loop_thread import Call, LoopThread
from rlm_kernel_mcp.errors import InvalidInput

WAIT_S = 60.0


async def nothing() -> None:
    """A last call that has nothing to do."""


async def value() -> str:
    return "value"


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.end(nothing)
    assert not made._thread.is_alive()


def test_a_call_gives_its_result_and_raises_what_it_raises(thread: LoopThread) -> None:
    """In the caller's thread, as if it had been called there."""

    async def fails() -> None:
        raise KeyError("x")

    assert thread.do(value()) == "value"
    with pytest.raises(KeyError, match="x"):
        thread.do(fails())


def test_an_interrupted_wait_cancels_its_call_and_returns_after_its_end(thread: LoopThread) -> None:
    """Ctrl-C arrives while the caller waits; the next call must not meet the cancelled one's clean-up."""
    said = []

    async def endless() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            said.append("cleaned up")

    def interrupted(call: Call[None]) -> None:
        thread.do(asyncio.sleep(0))  # it has begun
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        thread.wait(thread.begin(endless()), interrupted)
    assert said == ["cleaned up"]


def test_the_end_comes_once_and_after_it_no_call_is_taken() -> None:
    """The last call runs to its end in the loop, before the thread ends."""
    thread, ended = LoopThread(), []

    async def last() -> None:
        await asyncio.sleep(0)
        ended.append(threading.current_thread().name)

    thread.end(last)
    thread.end(last)
    assert ended == ["rlm session"]
    with pytest.raises(InvalidInput, match="The session is closed"):
        thread.do(nothing())


def test_a_call_that_the_end_cuts_off_is_told_so() -> None:
    """Another thread closes the session while this one waits."""
    thread, begun = LoopThread(), threading.Event()

    async def endless() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    call = thread.begin(endless())
    assert begun.wait(WAIT_S)
    thread.end(nothing)
    with pytest.raises(InvalidInput, match="closed during this call"):
        call.result()


def test_a_last_call_that_fails_is_logged_and_the_thread_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever closes is not kept from going on."""
    thread = LoopThread()

    async def fails() -> None:
        raise OSError("the disk is gone")

    thread.end(fails)
    assert not thread._thread.is_alive()
    assert "the disk is gone" in caplog.text


def test_a_copy_in_a_forked_process_takes_no_call_and_ends_nothing(
    thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is the parent's: what the child did to it would be done to the parent's sessions."""
    monkeypatch.setattr(thread, "_pid", -1)
    with pytest.raises(InvalidInput, match="The session is closed"):
        thread.do(nothing())
    thread.end_soon(nothing)
    assert not thread.is_over
    monkeypatch.undo()
    assert thread.do(value()) == "value"
