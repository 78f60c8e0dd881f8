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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.launch import Kernel
from rlm_kernel_mcp.kernel.messages import Message
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.cutting import safe_text
from rlm_kernel_mcp.session.snapshot_file import DAMAGED, Entry, KernelReport, SnapshotFile
from rlm_kernel_mcp.session.snapshot_stream import StreamBroken
from rlm_kernel_mcp.session.store_file import meaning
from rlm_kernel_mcp.wire import RESTORE, SNAPSHOT, SNAPSHOT_NAME_CHARS_MAX, SNAPSHOT_NAMES_MAX

log = logging.getLogger(__name__)
REASON_CHARS_MAX: Final = 300
NUDGE_S: Final = 0.05
NUDGES: Final = 100
"""How often, and so how long, a kernel is asked to let a value's own code go."""
SLACK_S: Final = 1.0
"""Beyond the policy's time for one step's snapshots: for the kernel's own report."""
RESTORE_S: Final = 10.0
RESTORE_BYTES_PER_S: Final = 20_000_000

Losses = list[tuple[str, str]]
"""(name, why) of each name that is not back, or back with care."""

_threads = ThreadPoolExecutor(16, thread_name_prefix="snapshot")


@dataclass(slots=True)
class _Taking:
    """One snapshot from its wish on."""

    kernel: Kernel
    step: int
    begun: bool = False
    skipped: bool = False
    free: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the kernel has nothing to do for it any more."""


class Snapshots:
    """The snapshots of one session."""

    def __init__(self, state_dir: Path, session_id: str, policy: Policy) -> None:
        self._file = SnapshotFile(state_dir, session_id, policy.snapshots)
        self._step_s = policy.snapshots.step_ms / 1000
        self._enabled = policy.snapshots.total_mb > 0 and policy.snapshots.name_mb > 0
        self._taking: _Taking | None = None
        self._task: asyncio.Task[None] | None = None
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

    def begin(self, kernel: Kernel, step: int) -> None:
        """After a step: take what changed, in the background."""
        if self._enabled and self._hung is not kernel:
            taking = self._taking = _Taking(kernel, step)
            self._task = asyncio.create_task(self._take(taking, self._task), name=f"snapshot after step {step}")

    async def give_way(self, kernel: Kernel) -> bool:
        """Before a step: end what is under way; what was not sent stays as it was.

        False if the kernel does not let go: a value's own code runs on in it, and no step would begin. (Behind a
        console's cell a step waits its turn.)
        """
        taking = self._taking
        if taking is not None and not taking.begun:
            taking.skipped = True
        elif taking is not None:
            for _ in range(NUDGES):
                if taking.free.is_set() or kernel.client.console_busy:
                    break
                # Again and again: one that comes before the kernel has begun is forgotten when it begins.
                kernel.process.send_signal(signal.SIGUSR2)
                await _within(NUDGE_S, asyncio.ensure_future(taking.free.wait()))
            else:
                self._hung = kernel
        return self._hung is not kernel

    async def settle(self) -> None:
        """Wait until the snapshot under way, if any, is in the file or given up."""
        if self._task is not None:
            await asyncio.wait({self._task})

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
                    lost.append((name, safe_text(str(why))[:REASON_CHARS_MAX]))
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

    # Inside

    async def _take(self, taking: _Taking, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait({before})
            if not taking.skipped:
                taking.begun = True
                await self._receive(taking)
                self.problem = None
        except (KernelDied, StreamBroken) as error:
            log.info("no snapshot after step %d: %s", taking.step, error)
        except TimeoutError:
            log.warning("no snapshot after step %d: the kernel does not come to it", taking.step)
            if not taking.kernel.client.console_busy:
                self._hung = taking.kernel
        except OSError as error:
            self.problem = f"The values of this session are not kept for a restart: {meaning(error)}"
            log.warning("%s", self.problem)
        finally:
            taking.free.set()

    async def _receive(self, taking: _Taking) -> None:
        kernel, stop, loop = taking.kernel, threading.Event(), asyncio.get_running_loop()
        self._token += 1
        token, after = self._token, self._had[1] if self._had is not None and self._had[0] is kernel else None
        reader, writer = os.pipe2(os.O_CLOEXEC)
        stream = loop.run_in_executor(_threads, self._file.receive, reader, int(self._step_s * 1000), stop)
        try:
            hand_over(kernel, writer)
            reply = await self._ask(kernel, SNAPSHOT, {"token": token, "after": after}, self._step_s + SLACK_S)
            received = await stream
        finally:
            stop.set()
            await asyncio.wait({stream})
            stream.exception()
        taking.free.set()
        report = _report(reply.content)
        self._had = (kernel, token)
        await loop.run_in_executor(_threads, self._file.commit, taking.step, report, received)

    async def _bind(self, kernel: Kernel, items: Sequence[tuple[str, Entry]]) -> dict[str, object]:
        hand_over(kernel, self._file.open_for_reading())
        request = {"items": [{"name": name, "offset": entry.offset, "bytes": entry.bytes} for name, entry in items]}
        within_s = RESTORE_S + sum(entry.bytes for _, entry in items) / RESTORE_BYTES_PER_S
        try:
            reply = await self._ask(kernel, RESTORE, request, within_s)
        except TimeoutError:
            raise KernelDied("The fresh kernel did not come to an end of restoring the session's values.") from None
        answers = reply.content.get("names")
        return answers if isinstance(answers, dict) else {}

    @staticmethod
    async def _ask(kernel: Kernel, msg_type: str, content: dict[str, Any], within_s: float) -> Message:
        """Ask in the kernel's main thread, where values' own code may run; in the end ask it to let that go.

        Raises:
            KernelDied: the kernel went away.
            TimeoutError: it does not answer even so.
        """
        asking = asyncio.ensure_future(kernel.client.request(msg_type, content, shell=True))
        try:
            await asyncio.wait({asking}, timeout=within_s)
            for _ in range(NUDGES):
                if asking.done():
                    return asking.result()
                kernel.process.send_signal(signal.SIGUSR2)
                await asyncio.wait({asking}, timeout=NUDGE_S)
            raise TimeoutError
        finally:
            asking.cancel()


def hand_over(kernel: Kernel, descriptor: int) -> None:
    """Pass a descriptor to a kernel, and close it here.

    Raises:
        KernelDied: the kernel does not take what is passed to it.
    """
    try:
        kernel.pass_descriptor(descriptor)
    except OSError as error:
        raise KernelDied(f"The kernel takes no open file: {error.strerror}.") from error
    finally:
        os.close(descriptor)


async def _within(seconds: float, waiting: asyncio.Future[Any]) -> None:
    await asyncio.wait({waiting}, timeout=seconds)
    waiting.cancel()


def _report(content: dict[str, Any]) -> KernelReport:
    """The kernel's account of its names, checked.

    Raises:
        StreamBroken: it is none.
    """
    rows, more = content.get("names"), content.get("more")
    if content.get("status") != "ok" or not isinstance(rows, dict):
        raise StreamBroken(f"the kernel could not take it: {safe_text(str(content.get('evalue')))[:REASON_CHARS_MAX]}")
    names: dict[str, tuple[str, str | None]] = {}
    for name, row in list(rows.items())[:SNAPSHOT_NAMES_MAX]:
        if isinstance(row, dict) and len(name) <= SNAPSHOT_NAME_CHARS_MAX:
            why = row.get("why")
            kind = safe_text(str(row.get("type")))[:SNAPSHOT_NAME_CHARS_MAX]
            names[name] = (kind, None if why is None else safe_text(str(why))[:REASON_CHARS_MAX])
    unverified = content.get("unverified")
    unverified = unverified[:SNAPSHOT_NAMES_MAX] if isinstance(unverified, list) else []
    return KernelReport(
        names, frozenset(name for name in unverified if isinstance(name, str)), more if type(more) is int else 0
    )
