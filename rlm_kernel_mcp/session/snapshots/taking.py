"""Takes a session's snapshots from its kernel, after a step and off the reply's path.

Is: what is done in each state of `states.py`, and how the next step comes first. Is not: the way back (`restoring.py`),
nor a reader: nothing here is ever unpickled. Above: `session/kernels/recovery.py`, `session/kernels/session_kernel.py`.
Below: `run.py`, `changes.py`, `carried.py`, `confirmed.py`, `requests.py`, `pipe.py`, `kernel/`.

A snapshot belongs to the step after which it was taken. A name that was not looked at since an older step comes back
as it was then, and the loss report says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.snapshot_report import checked_report, is_too_large
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.policy import SnapshotLimits
from rlm_kernel_mcp.session.snapshots.carried import Look, look_at
from rlm_kernel_mcp.session.snapshots.changes import Changes
from rlm_kernel_mcp.session.snapshots.confirmed import Confirmed
from rlm_kernel_mcp.session.snapshots.file import Index, SnapshotFile
from rlm_kernel_mcp.session.snapshots.pipe import receive
from rlm_kernel_mcp.session.snapshots.requests import SIGNAL_EVERY_S, ask, came, end_of, pass_descriptor, within
from rlm_kernel_mcp.session.snapshots.run import SnapshotRun
from rlm_kernel_mcp.session.snapshots.states import TakingEvent
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.wire import INLINE_SNAPSHOT_BYTES_MAX, SNAPSHOT, SnapshotRequest

log = logging.getLogger(__name__)
SIGNALS: Final = 100
"""How often, and thereby how long, a kernel is asked to let a value's own code go."""
SMALL_S: Final = 0.1
SMALL_SIGNALS: Final = 20
"""How long a small snapshot may take before the kernel is asked to let go, and how often it is asked."""
NEVER_ASKED: Final = 0
"""The token of a snapshot of which no message comes behind a reply: everything is sent through a pipe."""
SLACK_S: Final = 1.0
"""Beyond the policy's time for one step's snapshots: for the kernel's own report."""

_readers = ThreadPoolExecutor(256, thread_name_prefix="snapshot's pipe")
"""Threads, each of which waits for one kernel; no other session's values wait for it."""


class SnapshotTaker:
    """Takes the snapshots of one session."""

    def __init__(self, file: SnapshotFile, limits: SnapshotLimits) -> None:
        self._file = file
        self._step_s = limits.step_ms / 1000
        self._enabled = limits.total_mb > 0 and limits.name_mb > 0
        self._changes = Changes(file, self._disk_failed)
        self._confirmed = Confirmed()
        self._run: SnapshotRun | None = None
        self._hung: Kernel | None = None
        """The kernel that did not let go when it was asked to: nothing is asked of it any more."""
        self.problem: str | None = None
        """What keeps values from being stored, and how to fix it."""
        self.is_over = False
        """Whether nobody wants its values any more."""

    @property
    def step(self) -> int:
        """The last step after which a snapshot was taken."""
        return self._changes.step

    @property
    def under_way(self) -> bool:
        """Whether a kernel is at work for a snapshot."""
        return self._run is not None and not self._run.kernel_idle.is_set()

    @property
    def within_s(self) -> float:
        """How long the kernel may work for the snapshot under way; 0 if there is none."""
        return self._run.within_s if self._run is not None and self.under_way else 0.0

    def ask(self, kernel: Kernel) -> SnapshotRequest | None:
        """Before a step: what asks the kernel for the snapshot after it; None where there is none."""
        if not self._enabled or self._hung is kernel:
            return None
        return {"token": self._confirmed.next_token(), "after": self._confirmed.after(kernel)}

    def begin(
        self, kernel: Kernel, step: int, inline: asyncio.Future[Message], within_s: float, on_done: Callable[[], None]
    ) -> None:
        """After a step that was asked for its snapshot: take it, in the background.

        `within_s`: how long the kernel may take at most; the policy's time where that is shorter. `on_done`: called
        when the kernel has ended it as it should.
        """
        within_s = min(self._step_s, max(within_s, SMALL_S + SMALL_SIGNALS * SIGNAL_EVERY_S))
        self._start(SnapshotRun(kernel, step, self._confirmed.token, inline, within_s, on_done))

    def unchanged(self, kernel: Kernel, step: int) -> None:
        """After a step whose reply says that the file's values are still the current ones."""
        if self._confirmed.after(kernel) is not None:
            self._advance_step(kernel, step, self._confirmed.token)

    async def yield_to_step(self, kernel: Kernel) -> bool:
        """Before a step: end what is under way; what was not sent stays as it was.

        False if the kernel does not let go: a value's own code runs on in it, and no step would begin. (Behind a
        console's cell a step waits its turn.)
        """
        run = self._run
        if run is not None:
            run.supersede()
        if run is not None and not run.kernel_idle.is_set():
            if not run.is_piping:  # a small one is done in a moment, and worth it
                await within(SMALL_S, run.kernel_idle.wait())
            for _ in range(SIGNALS):
                if run.kernel_idle.is_set() or kernel.client.console_busy:
                    break
                # Again and again: a signal that comes before the kernel has begun is forgotten when it begins.
                kernel.process.send_signal(signal.SIGUSR2)
                await within(SIGNAL_EVERY_S, run.kernel_idle.wait())
            else:
                self._hung = kernel
        return self._hung is not kernel

    @property
    def index(self) -> Index:
        """What the file has of each name."""
        return self._file.index

    async def look(self, within_s: float) -> Look | None:
        """The file once all that has begun is in it, for the caller to close; None where that takes longer.

        Raises: OSError: it cannot be opened.
        """
        if not await self._changes.at_rest(within_s):
            return None
        return look_at(self._file, self._changes.step)  # no wait between: nobody changes the file meanwhile

    async def settle(self) -> None:
        """Wait until the snapshot under way, if any, is in the file or given up: each wait in it has its bound."""
        await self._changes.settle()

    async def settle_last(
        self, kernel: Kernel, step: int, on_done: Callable[[], None], unless: Callable[[], bool]
    ) -> None:
        """The same before a kernel is ended; what the disk did not take is sent once more: it may have room again.

        `step`: its last. `on_done`: as for `begin`. `unless`: whether the kernel is to stay by then: a step that has
        come waits for this, and sends everything after it anyway.
        """
        await self.settle()
        if self.problem is not None and self._hung is not kernel and not unless():
            no_message = asyncio.get_running_loop().create_future()
            no_message.cancel()
            self._start(SnapshotRun(kernel, step, NEVER_ASKED, no_message, self._step_s, on_done))
            await self.settle()

    async def remove(self) -> None:
        """Forget everything: the session has its final answer, and its kernel is gone."""
        self._enabled, self.is_over = False, True
        await self.settle()
        try:
            self._file.remove()
        except OSError as error:  # they are of no use any more, and the session has its answer in any case
            log.warning("the values kept of an ended session stay: %s", explain_error(error))

    # What is done in each state

    def _start(self, run: SnapshotRun) -> None:
        self._run = run
        task = self._changes.in_turn(lambda: self._take(run), f"snapshot after step {run.step}")
        # Also if the task is cancelled before its first line runs.
        task.add_done_callback(lambda _: run.cut_off())

    async def _take(self, run: SnapshotRun) -> None:
        try:
            run.on(TakingEvent.TURN_CAME)
            if not run.is_to_be_checked:
                await self._await_answer(run)
            if run.is_to_be_checked:
                await self._keep_inline(run)
            if run.is_piping:
                await self._keep_piped(run)
            if run.is_kept:
                self.problem = None
        except (KernelDied, StreamBroken) as error:
            # The kernel has ended, as each one does, or sends nonsense: nobody can act on it, and `lost` reports it.
            log.debug("no snapshot after step %d: %s", run.step, error)
            run.on(TakingEvent.BROKEN)
        except OSError as error:
            if isinstance(error, TimeoutError) and error.errno is None:  # ours; a disk's (ETIMEDOUT) has an errno
                self._no_answer_in_time(run)
            else:
                run.on(TakingEvent.DISK_REFUSED)
                self._disk_failed(error)

    def _no_answer_in_time(self, run: SnapshotRun) -> None:
        log.warning("no snapshot after step %d: the kernel did not answer in time", run.step)
        busy = run.kernel.client.console_busy
        run.on(TakingEvent.CONSOLE_BUSY if busy else TakingEvent.TIMED_OUT)
        if run.is_hung:
            self._hung = run.kernel

    async def _await_answer(self, run: SnapshotRun) -> None:
        """INLINE: wait for the kernel's own message; where the next step has come, until that has signalled enough."""
        has_come = await came(run.kernel, run.inline, SMALL_S, SMALL_SIGNALS)
        if not has_come:
            run.on(TakingEvent.NO_ANSWER)
            if run.is_piping:
                return
            has_come = await came(run.kernel, run.inline, SIGNALS * SIGNAL_EVERY_S, 0)
        if not has_come:
            raise TimeoutError
        run.note_answer()

    async def _keep_inline(self, run: SnapshotRun) -> None:
        """CHECKING: keep what the message has, if the whole snapshot is in it.

        Raises:
            KernelDied, StreamBroken, OSError.
        """
        if not self._confirmed.is_of_use(run.token):
            run.on(TakingEvent.OF_NO_USE)
            return
        message = run.inline.result()
        if is_too_large(message.content):
            run.on(TakingEvent.TOO_LARGE)
            return
        report = checked_report(message.content)
        run.on_done()
        stream = message.buffers[0] if message.buffers else b""
        if len(stream) > INLINE_SNAPSHOT_BYTES_MAX:
            raise StreamBroken(f"a small snapshot has at most {INLINE_SNAPSHOT_BYTES_MAX:,} bytes")
        if not stream and self._file.matches(report):
            self._advance_step(run.kernel, run.step, run.token)
            run.on(TakingEvent.NOTHING_NEW)
            return
        run.on(TakingEvent.FITS)
        await self._store(run, partial(self._file.store, run.step, report, stream))
        self._confirmed.confirm(run.kernel, run.token)

    async def _keep_piped(self, run: SnapshotRun) -> None:
        """PIPING: keep what comes through a pipe.

        Raises:
            KernelDied, StreamBroken, TimeoutError, OSError.
        """
        kernel, stop, loop = run.kernel, threading.Event(), asyncio.get_running_loop()
        token = self._confirmed.next_token()
        # A pipe, not a message: its 64 KB bound what either side holds of a stream that may be gigabytes.
        reader, writer = os.pipe2(os.O_CLOEXEC)
        stream = loop.run_in_executor(_readers, receive, self._file, reader, int(self._step_s * 1000), stop)
        try:
            pass_descriptor(kernel, writer, shell=True)
            request: SnapshotRequest = {"token": token, "after": self._confirmed.after(kernel)}
            reply = await ask(kernel, SNAPSHOT, request, run.within_s + SLACK_S, SIGNALS)
            received = await stream
        finally:
            stop.set()
            # Else asyncio would complain of an exception that nobody looked at.
            stream.add_done_callback(lambda ended: ended.exception())
            await shielded(end_of(stream), "the end of a snapshot's stream")
        report = checked_report(reply.content)
        run.on_done()
        run.on(TakingEvent.STREAM_CAME)
        self._confirmed.confirm(kernel, token)  # now: the next step may be asked for its snapshot before it is stored
        await self._store(run, partial(self._file.commit, run.step, report, received))

    async def _store(self, run: SnapshotRun, change: Callable[[], None]) -> None:
        """STORING: bring it into the file. Raises: as `change`."""
        await self._changes.apply(change)
        run.on(TakingEvent.STORED)

    def _advance_step(self, kernel: Kernel, step: int, token: int) -> None:
        self._confirmed.confirm(kernel, token)
        self._changes.advance_step(step)

    def _disk_failed(self, error: OSError) -> None:
        # Nobody knows any more what the file holds.
        self._confirmed.forget()
        self._changes.forget_step()
        self.problem = f"The values of this session are not kept for a restart: {explain_error(error)}"
        log.warning("%s", self.problem)
