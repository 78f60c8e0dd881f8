"""A kernel, a disk and a clock that do what a test says, below the real class that takes snapshots.

Is: each event of `session/snapshots/states.py` as something that happens in the world. Is not: a model of the states.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.policy import SnapshotLimits
from rlm_kernel_mcp.session.snapshots import changes, taking
from rlm_kernel_mcp.session.snapshots.file import SnapshotFile
from rlm_kernel_mcp.session.snapshots.pipe import receive
from rlm_kernel_mcp.session.snapshots.run import SnapshotRun
from rlm_kernel_mcp.session.snapshots.states import Taking, TakingEvent
from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker
from rlm_kernel_mcp.wire import SNAPSHOT
from tests.unit.kernel.untrusted.test_snapshot_stream import END, chunk, head

LIMITS: Final = SnapshotLimits(name_mb=1, total_mb=4, step_ms=300)
TURNS_MAX: Final = 200_000
"""Bound of every wait, in turns of the loop."""
E = TakingEvent


class StandingClock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when a test says so."""

    now = 0.0

    def time(self) -> float:
        return self.now


async def turns_until(condition: Callable[[], bool], each: Callable[[], None] = lambda: None) -> None:
    """Let everything else go on until something is so."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        each()
        await asyncio.sleep(0)
    raise AssertionError("it does not come to that")


def message(content: dict[str, Any], *buffers: bytes) -> Message:
    return cast("Message", SimpleNamespace(content=content, buffers=list(buffers)))


REPORT: Final = {"status": "ok", "names": {"a": {"type": "bytes", "why": None}}, "unverified": [], "more": 0}
STREAM: Final = head("a", "bytes") + chunk(b"x" * 10) + END
SAYS: Final = {
    E.FITS: lambda: message(REPORT, STREAM),
    E.TOO_LARGE: lambda: message({"status": "too_large"}),
    E.OF_NO_USE: lambda: message(REPORT, STREAM),
    E.NOTHING_NEW: lambda: message({"status": "ok", "names": {}, "unverified": [], "more": 0}),
    E.BROKEN: lambda: message({"status": "error"}),
}
"""What the kernel's own message says, by the event that it leads to."""


class ScriptedKernel:
    """The part of a kernel that snapshots are taken by."""

    def __init__(self) -> None:
        self.client = SimpleNamespace(console_busy=False, request=self._request)
        self.process = SimpleNamespace(send_signal=lambda number: None)
        self.pipe: int | None = None
        self.asked: asyncio.Future[Message] | None = None

    async def _request(self, msg_type: str, content: dict[str, Any], *, shell: bool) -> Message:
        assert (msg_type, set(content), shell) == (SNAPSHOT, {"token", "after"}, True)
        self.asked = asyncio.get_running_loop().create_future()
        return await self.asked

    def pass_descriptor(self, descriptor: int, *, shell: bool = False) -> None:
        assert shell
        self.pipe = os.dup(descriptor)

    def close_pipe(self, sent: bytes = b"") -> None:
        if self.pipe is not None:
            os.write(self.pipe, sent)
            os.close(self.pipe)
            self.pipe = None


class GatedFile(SnapshotFile):
    """A real file on a disk that waits until a test lets it go on, and fails as that says."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "s_1", LIMITS)
        self.gate = threading.Event()
        self.fails: Exception | None = None

    def store(self, *given: Any) -> None:
        self._wait()
        super().store(*given)

    def commit(self, *given: Any) -> None:
        self._wait()
        super().commit(*given)

    def _wait(self) -> None:
        self.gate.wait(60)
        if self.fails is not None:
            raise self.fails


class World:
    """One snapshot of a real taker, behind another that has the turn until a test ends it."""

    def __init__(self, directory: Path, patch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[Taking, TakingEvent]] = []
        told = self.told

        class Told(SnapshotRun):
            def on(self, event: TakingEvent) -> None:
                before = self.state
                super().on(event)
                told.append((before, event))

        patch.setattr(taking, "SnapshotRun", Told)
        patch.setattr(taking, "receive", self._receive)
        patch.setattr(taking, "SIGNALS", 3)
        self._threads = ThreadPoolExecutor(2)
        patch.setattr(changes, "threads", self._threads)
        patch.setattr(taking, "_readers", self._threads)
        self.kernel = ScriptedKernel()
        self.file = GatedFile(directory)
        self.taker = SnapshotTaker(self.file, LIMITS)
        self._read = threading.Event()
        self._pipe_fails = False
        self._turn = asyncio.Event()
        self._inline: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._between: list[TakingEvent] = []
        self._steps: list[asyncio.Task[bool]] = []

    async def go(self, way: Sequence[TakingEvent]) -> SnapshotRun:
        """Make these events happen one after the other; the snapshot."""
        kernel = cast("Kernel", self.kernel)
        assert self.taker.ask(kernel) == {"token": 1, "after": None}
        self.taker._changes.in_turn(self._hold, "the one before")
        self.taker.begin(kernel, 1, self._inline, 60.0, lambda: None)
        run = self.taker._run
        assert run is not None
        self._inline.add_done_callback(self._make_between)
        self._pipe_fails = E.DISK_REFUSED in way and not {E.STREAM_CAME, E.FITS} & set(way)
        for at, event in enumerate(way):
            if len(self.told) <= at:
                await self._make(run, event, way[at + 1 :])
                count = at + 1 + (len(self._between) if event is E.ANSWER_CAME else 0)
                await turns_until(lambda count=count: len(self.told) >= count)  # type: ignore[misc]
        return run

    async def end(self) -> None:
        """Leave nothing behind, wherever the way has ended."""
        self.file.gate.set()
        self.kernel.close_pipe()
        for task in self._steps:
            task.cancel()
        await asyncio.gather(*self._steps, return_exceptions=True)
        if (last := self.taker._changes._last) is not None:
            last.cancel()
            await asyncio.wait({last})
        self._threads.shutdown()

    async def _hold(self) -> None:
        await self._turn.wait()

    async def _make(self, run: SnapshotRun, event: TakingEvent, later: Sequence[TakingEvent]) -> None:
        match event:
            case E.TURN_CAME:
                self._turn.set()
            case E.ANSWER_CAME:
                self._answer(run, later)
            case E.STEP_CAME:
                self._step_comes()
            case E.NO_ANSWER:
                await self._time_passes()
            case E.TIMED_OUT | E.CONSOLE_BUSY:
                await self._pipe_ends(run)
                self.kernel.client.console_busy = event is E.CONSOLE_BUSY
                await self._time_passes()
            case E.STREAM_CAME | E.DISK_REFUSED if run.is_piping:
                await self._reply(STREAM)
            case E.BROKEN if run.is_piping:
                await self._reply(None)
            case E.STORED | E.BROKEN | E.DISK_REFUSED if run.state is Taking.STORING:
                self.file.fails = {E.BROKEN: StreamBroken("no"), E.DISK_REFUSED: OSError(28, "no")}.get(event)
                self.file.gate.set()
            case E.CUT_OFF:
                await self._pipe_ends(run)
                self._cut_off()

    def _answer(self, run: SnapshotRun, later: Sequence[TakingEvent]) -> None:
        if run.state in (Taking.INLINE, Taking.INLINE_SUPERSEDED):  # it is looked at in the next turn
            self._between = list(takewhile(lambda event: event in (E.STEP_CAME, E.CUT_OFF), later))
        leads_to = next((event for event in later if event in SAYS), E.FITS)
        if leads_to is E.OF_NO_USE:
            self.taker._confirmed.forget()
        self._inline.set_result(SAYS[leads_to]())

    def _make_between(self, _: asyncio.Future[Message]) -> None:
        for event in self._between:
            if event is E.STEP_CAME:
                self._step_comes()
            else:
                asyncio.get_running_loop().call_soon(self._cut_off)

    def _step_comes(self) -> None:
        self._steps.append(asyncio.ensure_future(self.taker.yield_to_step(cast("Kernel", self.kernel))))

    def _cut_off(self) -> None:
        assert self.taker._changes._last is not None
        self.taker._changes._last.cancel()

    async def _time_passes(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, StandingClock)

        def pass_some() -> None:
            loop.now += 0.05

        count = len(self.told)
        await turns_until(lambda: len(self.told) > count, pass_some)

    async def _pipe_ends(self, run: SnapshotRun) -> None:
        if run.is_piping:
            await turns_until(lambda: self.kernel.asked is not None)
            self.kernel.close_pipe()
            self._read.wait(60)

    async def _reply(self, sent: bytes | None) -> None:
        """The kernel ends its stream and answers, or is gone."""
        await turns_until(lambda: self.kernel.asked is not None)
        assert self.kernel.asked is not None
        self.kernel.close_pipe(sent if sent is not None and not self._pipe_fails else b"")
        if sent is None:
            self.kernel.asked.set_exception(KernelDied("gone"))
        else:
            self.kernel.asked.set_result(message(REPORT))

    def _receive(self, file: SnapshotFile, reader: int, step_ms: int, stop: threading.Event) -> Any:
        try:
            if self._pipe_fails:
                os.close(reader)
                raise OSError(28, os.strerror(28))
            return receive(file, reader, step_ms, stop)
        finally:
            self._read.set()
