"""The count of a kernel's threads, from outside.

Is: what ends a kernel that has more than its policy gives, where the system bounds none (decision 0025) or was got
round, and what has one with many give way to the host (decision 0061). Is not: a step's other limits
(`session/steps/resource_watch.py`). Above: `starter.py`, `session/`. Below: `kernel.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rlm_kernel_mcp.text.printable import printable
from rlm_kernel_mcp.wire import HOST_COUNTS_THREADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rlm_kernel_mcp.kernel.kernel import Kernel

LOOK_S: Final = 0.01
"""Seconds between two counts. In that time a kernel can start some hundred threads, each with 30 KB of system
memory."""


THREADS_TOLD: Final = 20
THREADS_AT_PAR: Final = 8
"""Threads of user code. Those that wait for the interpreter lock wake up all the time, and the more there are, the
longer whoever shares a processor with them waits for it: a server's thread for 13 of 15 s beside six kernels of 20."""


def host_counts(walls: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a kernel's rows of walls say that only this count bounds its threads."""
    return any(HOST_COUNTS_THREADS in row["detail"] for row in walls if row["name"] == "rlimits")


def threads_of(pid: int) -> str:
    """What each thread of a process waits in, for the log of a server whose kernel does not answer."""
    said = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):  # it, or the process, has just ended
            state = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            name, where = (task / "comm").read_text(errors="replace").strip(), (task / "wchan").read_text()
            said.append(f"{printable(name)} {state} {where}")
    return "; ".join(said[:THREADS_TOLD]) or "none"


def count_until_its_end(kernel: Kernel, most: int) -> None:
    """Count again and again, also between steps and while values are restored."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not kernel.dead.done() and not end_for_its_threads(kernel, most):
            loop.call_later(LOOK_S, look)

    look()


def end_for_its_threads(kernel: Kernel, most: int) -> bool:
    """Kill a kernel that has more than `most` threads; whether it was. One with many gives way to the host."""
    found = kernel.process.thread_count()
    # Beyond the threads of libzmq and ipykernel, which every kernel has.
    if found > kernel.base_threads + THREADS_AT_PAR:
        kernel.process.give_way()
    if found <= most:
        return False
    kernel.client.close(f"it had {found:,} threads, passed its limit of {most:,} and was killed")
    kernel.process.kill()
    return True
