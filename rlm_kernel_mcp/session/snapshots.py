"""A session's snapshots on the host's side: opaque bytes in one file, and an index of what stands where.

Is: taking them from a kernel after a step, off the reply's path, and handing them to a fresh one. Is not: a reader:
nothing here is ever
unpickled. Above: `recovery.py`. Below: `snapshot_file.py`, `kernel/`.

A snapshot belongs to the step after which it was taken. A name whose value was not seen to be unchanged since an older
step comes back as it was
then, and the loss report says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.launch import Kernel
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.cutting import safe_text
from rlm_kernel_mcp.session.snapshot_file import SnapshotFile, StreamBroken
from rlm_kernel_mcp.wire import RESTORE, SNAPSHOT

log = logging.getLogger(__name__)
NAMES_MAX: Final = 5_000
NAME_CHARS_MAX: Final = 200
REASON_CHARS_MAX: Final = 300
NUDGE_S: Final = 0.05
NUDGES: Final = 20
RESTORE_TIMEOUT_S: Final = 60.0
SLACK_S: Final = 5.0
"""Beyond the policy's time for one step's snapshots: for the kernel's own report, on a slow machine."""

_readers = ThreadPoolExecutor(16, thread_name_prefix="snapshot")


class Snapshots:
    """The snapshots of one session."""

    def __init__(self, path: Path, policy: Policy) -> None:
        """`path`: the file; it is made with the first snapshot."""
        self._file = SnapshotFile(path, policy.snapshots)
        self._policy = policy.snapshots
        self._running: asyncio.Task[None] | None = None
        self.enabled = policy.snapshots.total_mb > 0

    @property
    def under_way(self) -> bool:
        return self._running is not None and not self._running.done()

    def begin(self, kernel: Kernel, step_index: int) -> None:
        """After a step: take what changed, in the background."""
        if self.enabled:
            self._running = asyncio.create_task(self._take(kernel, step_index), name="snapshot")

    async def give_way(self, kernel: Kernel) -> None:
        """Before a step: end a snapshot that is under way; what it has not sent stays as it was."""
        running = self._running
        if running is None or running.done():
            return
        for _ in range(NUDGES):
            # Again and again: the first may come before the kernel has begun, which clears the request.
            kernel.process.send_signal(signal.SIGUSR2)
            done, _ = await asyncio.wait({running}, timeout=NUDGE_S)
            if done:
                return
        log.warning("a snapshot does not give way: a value's own code is running")

    async def settle(self) -> None:
        """Wait until the snapshot under way, if any, has ended."""
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _take(self, kernel: Kernel, step_index: int) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC)
        stream = asyncio.get_running_loop().run_in_executor(_readers, self._file.receive, reader, self._policy.step_ms)
        try:
            try:
                kernel.pass_descriptor(writer)
            finally:
                os.close(writer)
            async with asyncio.timeout(self._policy.step_ms / 1000 + SLACK_S):
                reply = await kernel.client.request(SNAPSHOT, {}, shell=True)
                await stream
            report = _report(reply.content)
            self._file.commit(step_index, *report)
        except (KernelDied, TimeoutError, StreamBroken, OSError) as error:
            log.info("no snapshot after step %d: %s", step_index, error)
        finally:
            self._file.stop_receiving()
            await asyncio.wait({stream})
            stream.exception()

    async def restore(self, kernel: Kernel, last_step: int) -> tuple[list[str], list[tuple[str, str]]]:
        """Bind what there is in a fresh kernel; names that are back, and (name, why) of those that are not or are old.

        Raises:
            KernelDied: the kernel went away over it.
        """
        index = self._file.index
        lost = [(name, entry.why) for name, entry in index.items() if entry.why is not None]
        items = [(name, entry) for name, entry in index.items() if entry.why is None]
        if not items:
            return [], lost
        descriptor = self._file.open_for_reading()
        try:
            kernel.pass_descriptor(descriptor)
        finally:
            os.close(descriptor)
        request = {"items": [{"name": name, "offset": entry.offset, "bytes": entry.bytes} for name, entry in items]}
        try:
            async with asyncio.timeout(RESTORE_TIMEOUT_S):
                reply = await kernel.client.request(RESTORE, request, shell=True)
        except TimeoutError:
            raise KernelDied(f"The fresh kernel did not take the snapshots within {RESTORE_TIMEOUT_S:.0f} s.") from None
        answers = reply.content.get("names")
        back: list[str] = []
        for name, entry in items:
            why = answers.get(name, "the kernel did not say") if isinstance(answers, dict) else "the kernel did not say"
            if why is not None:
                lost.append((name, safe_text(str(why))[:REASON_CHARS_MAX]))
                continue
            back.append(name)
            if entry.step < last_step:
                lost.append((name, f"restored as it was after step {entry.step}; later steps may have changed it"))
        return back, lost

    def remove(self) -> None:
        """Forget everything: the session has its final answer."""
        self._file.remove()


def _report(content: dict[str, Any]) -> tuple[dict[str, tuple[str, str | None]], set[str]]:
    """The kernel's account of its names, checked: {name: (type, why not)} and the names it did not look at again."""
    names: dict[str, tuple[str, str | None]] = {}
    rows = content.get("names")
    if content.get("status") != "ok" or not isinstance(rows, dict):
        raise StreamBroken(f"the kernel could not take it: {safe_text(str(content.get('evalue')))[:REASON_CHARS_MAX]}")
    for name, row in list(rows.items())[:NAMES_MAX]:
        if not isinstance(row, dict) or len(name) > NAME_CHARS_MAX:
            continue
        why = row.get("why")
        kind = safe_text(str(row.get("type")))[:NAME_CHARS_MAX]
        names[name] = (kind, None if why is None else safe_text(str(why))[:REASON_CHARS_MAX])
    unverified = content.get("unverified")
    return names, {name for name in unverified if isinstance(name, str)} if isinstance(unverified, list) else set()
