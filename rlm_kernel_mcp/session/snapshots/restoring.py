"""A session's values put back into a fresh kernel, where the values' own code runs.

Is: what is asked of the kernel, one bound of time over all tries, and what that cost. Is not: the choice of kernels
(`session/kernels/recovery.py`), nor what was kept (`taking.py`). Above: those two. Below: `requests.py`, `file.py`.
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
from rlm_kernel_mcp.session.snapshots.file import Entry, SnapshotFile
from rlm_kernel_mcp.session.snapshots.requests import NUDGE_S, ask, hand_over
from rlm_kernel_mcp.wire import RESTORE, SNAPSHOT_NAMES_MAX, RestoreRequest

FIRST_SHARE: Final = 0.5
LATER_SHARE: Final = 0.25
"""Shares of the time that the first try, of all values at once, and each of the two later ones may take."""
TRY_S: Final = 1.0
"""However short the time, a try has this much."""
NUDGED_SHARE: Final = 0.25
"""Share of the time that is left, at whose beginning the kernel is signalled to let a value's own code go."""

Losses = list[tuple[str, str]]
"""(name, why) of each name that is not back, or back with care."""


@dataclass(slots=True)
class Effort:
    """What may still be done to bring a session's values back, and what that has cost so far."""

    stop: asyncio.Future[None] | None = None
    """Done when the caller gives it up: the values stay where they are, for the next try."""
    used_ms: int = 0
    """Processor time of the kernels in it; of one that did not survive it the time that passed."""
    _tries: int = 0
    _deadline: float = 0.0

    def begin(self, all_s: float) -> None:
        """Begin a try. `all_s`: what all of them together may take."""
        share = LATER_SHARE if self._tries else FIRST_SHARE
        self._tries += 1
        self._deadline = time.monotonic() + max(TRY_S, share * all_s)

    @property
    def left_s(self) -> float:
        """What this try may still take."""
        return max(0.0, self._deadline - time.monotonic())


async def restore(
    kernel: Kernel, file: SnapshotFile, damaged: set[str], last_step: int, effort: Effort, *, one_by_one: bool
) -> tuple[list[str], Losses]:
    """Bind what there is in a fresh kernel; as `Snapshots.restore`."""
    index = file.index
    lost = [(name, entry.why) for name, entry in index.entries.items() if entry.why is not None]
    items = [(name, entry) for name, entry in index.entries.items() if entry.why is None and name not in damaged]
    if index.more:
        lost.append((f"{index.more:,} more names", f"of a session {SNAPSHOT_NAMES_MAX:,} names are kept"))
    back: list[str] = []
    for group in [[item] for item in items] if one_by_one else [items] if items else []:
        if not effort.left_s:
            lost += [(name, "there was no time left to restore it") for name, _ in group]
            continue
        try:
            answers = await _bind(kernel, file, group, effort)
        except KernelDied:
            if one_by_one:
                group[0][1].why = "the fresh kernel did not survive its restoring"
            raise
        for name, entry in group:
            why = answers.get(name, "the kernel did not say")
            if why is not None:
                lost.append((name, words(why)[:REASON_CHARS_MAX]))
                continue
            if entry.step < last_step:
                lost.append((name, f"restored as it was after step {entry.step}; later steps may have changed it"))
            else:
                back.append(name)
    return back, lost


async def _bind(
    kernel: Kernel, file: SnapshotFile, items: Sequence[tuple[str, Entry]], effort: Effort
) -> Mapping[str, object]:
    hand_over(kernel, file.open_for_reading())
    request: RestoreRequest = {
        "items": [{"name": name, "offset": entry.offset, "bytes": entry.bytes} for name, entry in items]
    }
    began_s, began_ms = time.monotonic(), kernel.process.cpu_ms()
    nudged_s = NUDGED_SHARE * effort.left_s
    nudges = math.ceil(nudged_s / NUDGE_S)
    try:
        reply = await _unless_stopped(ask(kernel, RESTORE, request, effort.left_s - nudged_s, nudges), effort)
    except TimeoutError:
        raise KernelDied("The fresh kernel did not come to an end of restoring the session's values.") from None
    finally:
        ended_ms = kernel.process.cpu_ms()  # 0 if it is gone: nobody can say what it used
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
