"""A session's snapshots on the host's side: taken from a kernel after a step, handed to a fresh one.

Is: when, off the reply's path, and how the next step comes first; a kernel that does not keep to it is named. Is not:
a reader: nothing here is ever unpickled. Above: `recovery.py`, `kernel_life.py`. Below: `snapshot_file.py`, `kernel/`.

A snapshot belongs to the step after which it was taken. A name that was not looked at since an older step comes back
as it was then, and the loss report says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.launch import Kernel
from rlm_kernel_mcp.kernel.messages import Message
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.snapshot_asking import NUDGE_S, Taking, answer, ask, hand_over, within
from rlm_kernel_mcp.session.snapshot_file import DAMAGED, Entry, SnapshotFile
from rlm_kernel_mcp.session.snapshot_report import REASON_CHARS_MAX, checked_report, words
from rlm_kernel_mcp.session.snapshot_stream import StreamBroken
from rlm_kernel_mcp.session.store_file import meaning
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.wire import KEPT_BYTES_MAX, RESTORE, SNAPSHOT, SNAPSHOT_NAMES_MAX

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
RESTORE_S: Final = 10.0
RESTORE_BYTES_PER_S: Final = 20_000_000

Losses = list[tuple[str, str]]
"""(name, why) of each name that is not back, or back with care."""
_threads = ThreadPoolExecutor(16, thread_name_prefix="snapshot")


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
        """The last snapshot that is in the file, by its kernel and its token."""
        self.problem: str | None = None
        """What keeps values from being kept, and what mends it."""

    @property
    def step(self) -> int:
        """The last step after which a snapshot was taken."""
        return self._file.index.step

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

    def ask(self, kernel: Kernel) -> dict[str, Any] | None:
        """Before a step: what asks the kernel for the snapshot after it; None where there is none."""
        if not self._enabled or self._hung is kernel:
            return None
        self._token += 1
        return {"token": self._token, "after": self._after(kernel)}

    def begin(self, kernel: Kernel, step: int, kept: asyncio.Future[Message], on_done: Callable[[], None]) -> None:
        """After a step that was asked for its snapshot: take it, in the background.

        `on_done`: called when the kernel has ended it as it should.
        """
        taking = self._taking = Taking(kernel, step, self._token, kept, on_done)
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
        """Wait until the snapshot under way, if any, is in the file or given up."""
        if self._task is not None:
            await asyncio.wait({self._task})
        if self._writing is not None:
            await asyncio.wait({self._write_now()})

    async def restore(self, kernel: Kernel, last_step: int, *, one_by_one: bool) -> tuple[list[str], Losses]:
        """Bind what there is in a fresh kernel; the names that are back, and why others are not, or are old.

        `last_step`: the last step that ended with its kernel alive. `one_by_one`: a kernel did not survive it before;
        now the name that it does not survive is found, and left out the next time.

        Raises:
            KernelDied: the kernel went away over it.
        """
        index = self._file.index
        lost = [(name, entry.why) for name, entry in index.entries.items() if entry.why is not None]
        damaged = await asyncio.get_running_loop().run_in_executor(_threads, self._file.damaged)
        lost += [(name, DAMAGED) for name in damaged]
        items = [(name, entry) for name, entry in index.entries.items() if entry.why is None and name not in damaged]
        if index.more:
            lost.append((f"{index.more:,} more names", f"of a session {SNAPSHOT_NAMES_MAX:,} names are kept"))
        back: list[str] = []
        for group in [[item] for item in items] if one_by_one else [items] if items else []:
            try:
                answers = await self._bind(kernel, group)
            except KernelDied:
                if one_by_one:
                    group[0][1].why = "the fresh kernel did not survive its restoring"
                raise
            for name, entry in group:
                why = answers.get(name, "the kernel did not say")
                if why is not None:
                    lost.append((name, words(why)[:REASON_CHARS_MAX]))
                    continue
                back.append(name)
                if entry.step < last_step:
                    lost.append((name, f"restored as it was after step {entry.step}; later steps may have changed it"))
        return back, lost

    async def remove(self) -> None:
        """Forget everything: the session has its final answer, and its kernel is gone."""
        self._enabled = False
        await self.settle()
        try:
            self._file.remove()
        except OSError as error:  # they are of no use any more; the session has its answer all the same
            log.warning("the values kept of an ended session stay: %s", meaning(error))

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
            log.info("no snapshot after step %d: %s", taking.step, error)
        except TimeoutError:
            log.warning("no snapshot after step %d: the kernel does not come to it", taking.step)
            if not taking.kernel.client.console_busy:
                self._hung = taking.kernel
        except OSError as error:
            self._disk_failed(error)
        finally:
            taking.free.set()

    async def _small(self, taking: Taking) -> Message | None:
        """The snapshot that came by itself; None where it is to be asked for by a pipe."""
        message: Message | None = None
        try:
            message = await answer(taking.kernel, taking.kept, SMALL_S, SMALL_NUDGES)
        except TimeoutError:
            if not taking.skipped:
                return None
        if message is None:
            message = await taking.kept  # the next step has come: it says how long the kernel may take
        return None if message.content.get("status") == "left" else message

    async def _keep(self, taking: Taking, message: Message) -> None:
        report = checked_report(message.content)
        taking.on_done()
        stream = message.buffers[0] if message.buffers else b""
        if len(stream) > KEPT_BYTES_MAX:
            raise StreamBroken(f"a small snapshot has at most {KEPT_BYTES_MAX:,} bytes")
        if not stream and self._file.is_still(report):
            self._still(taking.kernel, taking.step, taking.token)
            return
        await asyncio.get_running_loop().run_in_executor(_threads, self._file.store, taking.step, report, stream)
        self._had = (taking.kernel, taking.token)

    def _still(self, kernel: Kernel, step: int, token: int) -> None:
        self._file.advance(step)
        self._had = (kernel, token)
        if self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(WRITE_S, self._write_now)

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
            await asyncio.get_running_loop().run_in_executor(_threads, self._file.write_index)
        except OSError as error:
            self._disk_failed(error)

    def _disk_failed(self, error: OSError) -> None:
        self.problem = f"The values of this session are not kept for a restart: {meaning(error)}"
        log.warning("%s", self.problem)

    async def _receive(self, taking: Taking) -> None:
        kernel, stop, loop = taking.kernel, threading.Event(), asyncio.get_running_loop()
        self._token += 1
        token = self._token
        reader, writer = os.pipe2(os.O_CLOEXEC)
        stream = loop.run_in_executor(_threads, self._file.receive, reader, int(self._step_s * 1000), stop)
        try:
            hand_over(kernel, writer)
            request = {"token": token, "after": self._after(kernel)}
            reply = await ask(kernel, SNAPSHOT, request, self._step_s + SLACK_S, NUDGES)
            received = await stream
        finally:
            stop.set()
            stream.add_done_callback(lambda ended: ended.exception())  # looked at, also where nobody waits
            await shielded(_end_of(stream), "the end of a snapshot's stream")
        report = checked_report(reply.content)
        taking.on_done()
        taking.free.set()
        self._had = (kernel, token)
        await loop.run_in_executor(_threads, self._file.commit, taking.step, report, received)

    async def _bind(self, kernel: Kernel, items: Sequence[tuple[str, Entry]]) -> dict[str, object]:
        hand_over(kernel, self._file.open_for_reading())
        request = {"items": [{"name": name, "offset": entry.offset, "bytes": entry.bytes} for name, entry in items]}
        within_s = RESTORE_S + sum(entry.bytes for _, entry in items) / RESTORE_BYTES_PER_S
        try:
            reply = await ask(kernel, RESTORE, request, within_s, NUDGES)
        except TimeoutError:
            raise KernelDied("The fresh kernel did not come to an end of restoring the session's values.") from None
        answers = reply.content.get("names")
        return answers if isinstance(answers, dict) else {}


async def _end_of(stream: asyncio.Future[Any]) -> None:
    await asyncio.wait({stream})
