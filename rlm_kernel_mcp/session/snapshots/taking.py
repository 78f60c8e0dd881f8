"""A session's snapshots on the host's side: taken from a kernel after a step, handed to a fresh one.

Is: when, off the reply's path, and how the next step comes first; a kernel that does not let go is reported. Is not: a
reader: nothing here is ever unpickled. Above: `session/kernels/recovery.py`, `session/kernels/session_kernel.py`.
Below: `restoring.py`, `file.py`, `pipe.py`, `kernel/`.

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
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.snapshot_report import checked_report
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.snapshots.file import DAMAGED, SnapshotFile
from rlm_kernel_mcp.session.snapshots.pipe import receive
from rlm_kernel_mcp.session.snapshots.requests import NUDGE_S, Taking, answer, ask, end_of, hand_over, within
from rlm_kernel_mcp.session.snapshots.restoring import Effort, Losses, restore
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.store.database.file import explain_error
from rlm_kernel_mcp.wire import INLINE_SNAPSHOT_BYTES_MAX, SNAPSHOT, SnapshotRequest

log = logging.getLogger(__name__)
NUDGES: Final = 100
"""How often, and so how long, a kernel is asked to let a value's own code go."""
SMALL_S: Final = 0.1
SMALL_NUDGES: Final = 20
"""How long a small snapshot may take before the kernel is asked to let go, and how often it is asked."""
WRITE_S: Final = 1.0
"""How long an index that differs from the one on disk in its step alone may wait to be written."""
SLACK_S: Final = 1.0
"""Beyond the policy's time for one step's snapshots: for the kernel's own report."""
RESTORE_S: Final = 12.0
RESTORE_BYTES_PER_S: Final = 20_000_000
"""The bound of all tries to restore the values: so long, and as much longer as they are large."""

_threads = ThreadPoolExecutor(16, thread_name_prefix="snapshot")
_readers = ThreadPoolExecutor(256, thread_name_prefix="snapshot's pipe")
"""Each waits for one kernel, and no other session's values wait for it."""


class Snapshots:
    """The snapshots of one session."""

    def __init__(self, state_dir: Path, session_id: str, policy: Policy) -> None:
        self._file = SnapshotFile(state_dir, session_id, policy.snapshots)
        self._step_s = policy.snapshots.step_ms / 1000
        self._enabled = policy.snapshots.total_mb > 0 and policy.snapshots.name_mb > 0
        self._taking: Taking | None = None
        self._task: asyncio.Task[None] | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._hung: Kernel | None = None
        self._token = 0
        self._had: tuple[Kernel, int] | None = None
        """The last snapshot that is in the file, or on its way there, by its kernel and its token."""
        self._failed_token = 0
        """The newest snapshot that was asked for when the disk failed."""
        self._still_step = 0
        """The newest step after which the values were what the file has; it is not told yet. 0: none."""
        self.problem: str | None = None
        """What keeps values from being kept, and what mends it."""

    @property
    def step(self) -> int:
        """The last step after which a snapshot was taken."""
        return max(self._file.index.step, self._still_step)

    @property
    def names(self) -> list[str]:
        """The names that the session had then."""
        return list(self._file.index.entries)

    @property
    def left_out(self) -> int:
        """How many names more it had than are kept."""
        return self._file.index.more

    def all_lost(self, why: str) -> Losses:
        """The account where nothing is restored."""
        return [(name, why if entry.why is None else entry.why) for name, entry in self._file.index.entries.items()]

    @property
    def under_way(self) -> bool:
        """Whether a kernel is at work for a snapshot."""
        return self._taking is not None and not self._taking.free.is_set()

    def ask(self, kernel: Kernel) -> SnapshotRequest | None:
        """Before a step: what asks the kernel for the snapshot after it; None where there is none."""
        if not self._enabled or self._hung is kernel:
            return None
        self._token += 1
        return {"token": self._token, "after": self._after(kernel)}

    @property
    def within_s(self) -> float:
        """How long the kernel may work for the snapshot under way; 0 if there is none."""
        return self._taking.within_s if self._taking is not None and self.under_way else 0.0

    def begin(
        self, kernel: Kernel, step: int, kept: asyncio.Future[Message], within_s: float, on_done: Callable[[], None]
    ) -> None:
        """After a step that was asked for its snapshot: take it, in the background.

        `within_s`: how long the kernel may take at most; the policy's time where that is shorter. `on_done`: called
        when the kernel has ended it as it should.
        """
        within_s = min(self._step_s, max(within_s, SMALL_S + SMALL_NUDGES * NUDGE_S))
        taking = self._taking = Taking(kernel, step, self._token, kept, within_s, on_done)
        kept.add_done_callback(lambda _: taking.free.set())
        self._task = asyncio.create_task(self._take(taking, self._task), name=f"snapshot after step {step}")

    def unchanged(self, kernel: Kernel, step: int) -> None:
        """After a step whose reply says that what the file has is still so."""
        if self._after(kernel) is not None:
            self._still(kernel, step, self._token)

    async def give_way(self, kernel: Kernel) -> bool:
        """Before a step: end what is under way; what was not sent stays as it was.

        False if the kernel does not let go: a value's own code runs on in it, and no step would begin. (Behind a
        console's cell a step waits its turn.)
        """
        taking = self._taking
        if taking is not None:
            taking.skipped = True
        if taking is not None and not taking.free.is_set():
            if not taking.piping:  # a small one is done in a moment, and worth it
                await within(SMALL_S, taking.free.wait())
            for _ in range(NUDGES):
                if taking.free.is_set() or kernel.client.console_busy:
                    break
                # Again and again: one that comes before the kernel has begun is forgotten when it begins.
                kernel.process.send_signal(signal.SIGUSR2)
                await within(NUDGE_S, taking.free.wait())
            else:
                self._hung = kernel
        return self._hung is not kernel

    async def settle(self) -> None:
        """Wait until the snapshot under way, if any, is in the file or given up: each wait in it has its bound."""
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._writing is not None:
            await asyncio.wait({self._write_now()})

    async def restore(
        self, kernel: Kernel, last_step: int, effort: Effort, *, one_by_one: bool
    ) -> tuple[list[str], Losses]:
        """Bind what there is in a fresh kernel; the names that are back, and why others are not, or are old.

        `last_step`: the last step that ended with its kernel alive. `one_by_one`: a kernel did not survive it before;
        now the name that it does not survive is found, and left out the next time.

        Raises:
            KernelDied: the kernel went away over it, or there is no time left.
            RestoreStopped: the caller gave it up.
        """
        damaged = await asyncio.get_running_loop().run_in_executor(_threads, self._file.damaged)
        size = sum(entry.bytes for entry in self._file.index.entries.values())
        effort.begin(RESTORE_S + size / RESTORE_BYTES_PER_S)
        back, lost = await restore(kernel, self._file, damaged, last_step, effort, one_by_one=one_by_one)
        return back, [(name, DAMAGED) for name in damaged] + lost

    async def remove(self) -> None:
        """Forget everything: the session has its final answer, and its kernel is gone."""
        self._enabled = False
        await self.settle()
        try:
            self._file.remove()
        except OSError as error:  # they are of no use any more; the session has its answer all the same
            log.warning("the values kept of an ended session stay: %s", explain_error(error))

    def _after(self, kernel: Kernel) -> int | None:
        """The last snapshot that is in the file, if this kernel took it."""
        return self._had[1] if self._had is not None and self._had[0] is kernel else None

    async def _take(self, taking: Taking, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait({before})
            small = await self._small(taking)
            if small is not None:
                await self._keep(taking, small)
            elif not taking.skipped:
                taking.piping = True
                taking.free.clear()
                await self._receive(taking)
            self.problem = None
        except (KernelDied, StreamBroken) as error:
            # The kernel has ended, as every session's does, or sends nonsense: nobody can act on it, and `lost` tells.
            log.debug("no snapshot after step %d: %s", taking.step, error)
        except TimeoutError:
            log.warning("no snapshot after step %d: the kernel did not answer in time", taking.step)
            if not taking.kernel.client.console_busy:
                self._hung = taking.kernel
        except OSError as error:
            self._disk_failed(error)
        finally:
            taking.kept.cancel()  # what comes now comes too late
            taking.free.set()

    async def _small(self, taking: Taking) -> Message | None:
        """The snapshot that came by itself; None where it is to be asked for by a pipe."""
        message: Message | None = None
        try:
            message = await answer(taking.kernel, taking.kept, SMALL_S, SMALL_NUDGES)
        except TimeoutError:
            if not taking.skipped:
                return None
        if message is None:  # the next step has come, and `give_way` signals the kernel
            message = await answer(taking.kernel, taking.kept, NUDGES * NUDGE_S, 0)
        return None if message.content.get("status") == "too_large" else message

    async def _keep(self, taking: Taking, message: Message) -> None:
        report = checked_report(message.content)
        taking.on_done()
        if taking.token <= self._failed_token:
            raise StreamBroken("it may say what changed since one that is not in the file")
        stream = message.buffers[0] if message.buffers else b""
        if len(stream) > INLINE_SNAPSHOT_BYTES_MAX:
            raise StreamBroken(f"a small snapshot has at most {INLINE_SNAPSHOT_BYTES_MAX:,} bytes")
        if not stream and self._file.is_still(report):
            self._still(taking.kernel, taking.step, taking.token)
            return
        await self._in_file(self._file.store, taking.step, report, stream)
        self._had = (taking.kernel, taking.token)

    def _still(self, kernel: Kernel, step: int, token: int) -> None:
        self._still_step = step
        self._had = (kernel, token)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(WRITE_S, self._write_now)

    async def _in_file(self, change: Callable[..., None], *given: object) -> None:
        """Change the index, in a thread and one change at a time (each task waits for the one before it)."""
        still, self._still_step = self._still_step, 0

        def work() -> None:
            if still:
                self._file.advance(still)
            change(*given)

        await asyncio.get_running_loop().run_in_executor(_threads, work)

    def _write_now(self) -> asyncio.Task[None]:
        """Write down which step the values are of: that changes with each one, and is written once a second."""
        if self._writing is not None:
            self._writing.cancel()
        self._writing = None
        self._task = asyncio.create_task(self._write(self._task), name="snapshots' index")
        return self._task

    async def _write(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            await self._in_file(self._file.write_index)
        except OSError as error:
            self._disk_failed(error)

    def _disk_failed(self, error: OSError) -> None:
        # Nobody knows what the file has: everything is sent again.
        self._had, self._still_step, self._failed_token = None, 0, self._token
        self.problem = f"The values of this session are not kept for a restart: {explain_error(error)}"
        log.warning("%s", self.problem)

    async def _receive(self, taking: Taking) -> None:
        kernel, stop, loop = taking.kernel, threading.Event(), asyncio.get_running_loop()
        self._token += 1
        token = self._token
        reader, writer = os.pipe2(os.O_CLOEXEC)
        stream = loop.run_in_executor(_readers, receive, self._file, reader, int(self._step_s * 1000), stop)
        try:
            hand_over(kernel, writer)
            request: SnapshotRequest = {"token": token, "after": self._after(kernel)}
            reply = await ask(kernel, SNAPSHOT, request, taking.within_s + SLACK_S, NUDGES)
            received = await stream
        finally:
            stop.set()
            stream.add_done_callback(lambda ended: ended.exception())  # looked at, also where nobody waits
            await shielded(end_of(stream), "the end of a snapshot's stream")
        report = checked_report(reply.content)
        taking.on_done()
        taking.free.set()
        self._had = (kernel, token)
        await self._in_file(self._file.commit, taking.step, report, received)
