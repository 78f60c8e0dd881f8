"""Puts a session's values back into a fresh kernel, where the values' own code runs.

Is: what is asked of the kernel, one time limit for all tries, and what they cost. Is not: the choice of kernels
(`session/kernels/recovery.py`), nor what was kept (`taking.py`). Above: the former. Below: `states.py`, `requests.py`,
`file.py`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelDied, RestoreStopped
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.answers import restored_names
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.snapshot_report import REASON_CHARS_MAX, words
from rlm_kernel_mcp.session.snapshots.changes import threads
from rlm_kernel_mcp.session.snapshots.file import DAMAGED, Entry, SnapshotFile
from rlm_kernel_mcp.session.snapshots.requests import SIGNAL_EVERY_S, ask, pass_descriptor
from rlm_kernel_mcp.session.snapshots.states import RESTORING, Restoring, RestoringEvent
from rlm_kernel_mcp.session.states.machine import state_after
from rlm_kernel_mcp.wire import RESTORE, SNAPSHOT_NAMES_MAX, RestoreRequest

FIRST_SHARE: Final = 0.5
LATER_SHARE: Final = 0.25
"""Shares of the time that the first try, of all values at once, and each of the two later ones may take."""
RESTORE_S: Final = 12.0
RESTORE_BYTES_PER_S: Final = 20_000_000
"""The time limit for all tries: so long, and longer the larger the values are."""
TRY_S: Final = 1.0
"""However short the time, a try has this much."""
SIGNALLED_SHARE: Final = 0.25
"""The last share of the time that is left, in which the kernel is signalled to let a value's own code go."""

Losses = list[tuple[str, str]]
"""(name, why) of each name that is not back, or is back with a reservation."""


@dataclass(slots=True)
class Effort:
    """What may still be done to bring a session's values back, and what that has cost so far."""

    stop: asyncio.Future[None] | None = None
    """Done when the caller gives up: the values stay where they are, for the next try."""
    used_ms: int = 0
    """Processor time of the kernels in it; for one that did not survive it, the time that passed."""
    state: Restoring = Restoring.NO_KERNEL
    _deadline: float | None = None

    def on(self, event: RestoringEvent) -> None:
        """Take an event. Raises ImpossibleEvent if the table does not have it."""
        self.state = state_after(RESTORING, self.state, event)

    def begin(self, all_s: float) -> None:
        """Begin a try. `all_s`: what all of them together may take."""
        share = FIRST_SHARE if self._deadline is None else LATER_SHARE
        self._deadline = time.monotonic() + max(TRY_S, share * all_s)

    @property
    def left_s(self) -> float:
        """What this try may still take."""
        return max(0.0, (self._deadline or 0.0) - time.monotonic())


class SnapshotRestorer:
    """Puts the values of one session into a fresh kernel."""

    def __init__(self, file: SnapshotFile) -> None:
        self._file = file

    @property
    def names(self) -> list[str]:
        """The names that the session had after the last snapshot."""
        return list(self._file.index.entries)

    @property
    def left_out(self) -> int:
        """How many names it had beyond those that are kept."""
        return self._file.index.more

    def all_lost(self, why: str) -> Losses:
        """The losses where nothing is restored."""
        return [(name, why if entry.why is None else entry.why) for name, entry in self._file.index.entries.items()]

    async def restore(self, kernel: Kernel, last_step: int, effort: Effort) -> tuple[list[str], Losses]:
        """Bind what there is in a fresh kernel. Returns the names that are back, and why others are not, or are old.

        `last_step`: the last step that ended with its kernel alive. Where the effort is at ONE_BY_ONE, the name that
        the kernel does not survive is found, and left out the next time.

        Raises:
            KernelDied: the kernel went away over it, or there is no time left. RestoreStopped: the caller gave up.
        """
        damaged = await asyncio.get_running_loop().run_in_executor(threads, self._file.damaged)
        index = self._file.index
        size = sum(entry.bytes for entry in index.entries.values())
        effort.begin(RESTORE_S + size / RESTORE_BYTES_PER_S)
        lost = [(name, DAMAGED) for name in damaged]
        lost += [(name, entry.why) for name, entry in index.entries.items() if entry.why is not None]
        items = [(name, entry) for name, entry in index.entries.items() if entry.why is None and name not in damaged]
        if index.more:
            lost.append((f"{index.more:,} more names", f"of a session {SNAPSHOT_NAMES_MAX:,} names are kept"))
        back: list[str] = []
        one_by_one = effort.state is Restoring.ONE_BY_ONE
        for group in [[item] for item in items] if one_by_one else [items] if items else []:
            if not effort.left_s:
                lost += [(name, "there was no time left to restore it") for name, _ in group]
                continue
            try:
                answers = await _bind(kernel, self._file, group, effort)
            except KernelDied:
                if one_by_one:
                    group[0][1].why = "the fresh kernel did not survive its restoring"
                raise
            _account(group, answers, last_step, back, lost)
        return back, lost


def _account(
    group: Sequence[tuple[str, Entry]], answers: Mapping[str, object], last_step: int, back: list[str], lost: Losses
) -> None:
    """Add the names that a kernel was asked for to those that are back, or to the losses."""
    for name, entry in group:
        why = answers.get(name, "the kernel did not say")
        if why is not None:
            lost.append((name, words(why)[:REASON_CHARS_MAX]))
        elif entry.step < last_step:
            lost.append((name, f"restored as it was after step {entry.step}; later steps may have changed it"))
        else:
            back.append(name)


async def _bind(
    kernel: Kernel, file: SnapshotFile, items: Sequence[tuple[str, Entry]], effort: Effort
) -> Mapping[str, object]:
    pass_descriptor(kernel, file.open_for_reading(), shell=True)
    request: RestoreRequest = {
        "items": [{"name": name, "offset": entry.offset, "bytes": entry.bytes} for name, entry in items]
    }
    began_s, began_ms = time.monotonic(), kernel.process.cpu_ms()
    signalled_s = SIGNALLED_SHARE * effort.left_s
    signals = math.ceil(signalled_s / SIGNAL_EVERY_S)
    try:
        reply = await _unless_stopped(ask(kernel, RESTORE, request, effort.left_s - signalled_s, signals), effort)
    except TimeoutError:
        raise KernelDied("The fresh kernel did not finish restoring the session's values.") from None
    finally:
        ended_ms = kernel.process.cpu_ms()  # 0 if it is gone: what it used cannot be known
        effort.used_ms += ended_ms - began_ms if ended_ms else int((time.monotonic() - began_s) * 1000)
    return restored_names(reply.content)


async def _unless_stopped(asking: Coroutine[Any, Any, Message], effort: Effort) -> Message:
    task = asyncio.ensure_future(asking)
    try:
        waits: list[asyncio.Future[Any]] = [task] if effort.stop is None else [task, effort.stop]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RestoreStopped("The session's values were being put into a fresh kernel when this was interrupted.")
        return task.result()
    finally:
        task.cancel()
