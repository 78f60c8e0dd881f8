"""The files of a session's scratch directory, asked of its kernel: their names, and the bytes of one, part by part.

Is: requests, each bounded, also while a step runs. The host opens no path of a kernel's tree: what it hands on are the
kernel's messages. Is not: the check of what comes (`kernel/untrusted/shown/files.py`), nor a file on anybody's disk
(`commands/taking/`). Above: `host/kinds/persons.py`. Below:
`session/kernels/session_kernel.py`, `session/kernels/variables.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from rlm_kernel_mcp.context_wire import LIST_FILES, READ_FILE
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.shown.files import FilePart, ScratchFiles, files_in, part_in
from rlm_kernel_mcp.session.kernels.session_kernel import SessionKernel
from rlm_kernel_mcp.session.kernels.variables import ask

OFFSET_MAX: Final = 1 << 40
NAME_CHARS_MAX: Final = 4_096


async def list_files(kernel_of: SessionKernel, session_id: str) -> ScratchFiles:
    """Names and sizes, by the kernel's word. Raises: KernelDied: there is no kernel, or it does not say."""
    async with _live(kernel_of, session_id) as kernel:
        return files_in((await ask(kernel, LIST_FILES, {})).content)


async def read_part(kernel_of: SessionKernel, session_id: str, name: str, offset: int) -> FilePart:
    """At most `FILE_PART_BYTES` of one, from a byte on. Raises: KernelDied: there is no kernel, or it sends none."""
    async with _live(kernel_of, session_id) as kernel:
        return part_in((await ask(kernel, READ_FILE, {"name": name, "offset": offset})).content)


@asynccontextmanager
async def _live(kernel_of: SessionKernel, session_id: str) -> AsyncIterator[Kernel]:
    """The kernel that there is: a fresh one would have an empty directory, also one that comes while this waits."""
    there = kernel_of.current
    if there is not None and there.client.broken is None:
        async with kernel_of.reading() as kernel:
            if kernel is there:
                yield kernel
                return
    raise KernelDied(
        f"Session {session_id} has no kernel just now; what was in its scratch directory ended with the last one.",
        "Take files out while the kernel lives, or let the agent's code keep what they hold in variables.",
    )
