"""One cell in a kernel that is started as any other Jupyter client starts one.

Is: a trial, for `doctor`: jupyter_client's own manager, with a connection file wherever it likes. Is not: a way to run
anything. Above: `commands/doctoring/doctor.py`. Below: jupyter_client, `kernel/placement/kernelspec.py`.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.kernelspec import spec_manager
from rlm_kernel_mcp.shielded import shielded

CELL_S: Final = 30.0


async def first_cell(kernel: str) -> int:
    """Start a kernelspec's kernel, run a cell, shut it down; how long it took, in ms.

    Raises:
        SandboxUnavailable: a required wall cannot be raised.
        KernelStartFailed: anything else.
    """
    begin = time.monotonic_ns()
    manager = AsyncKernelManager(kernel_name=kernel, kernel_spec_manager=spec_manager(), log=_silent())
    await manager.start_kernel()
    client: AsyncKernelClient = manager.client()
    try:
        client.start_channels()
        await client.wait_for_ready(timeout=CELL_S)
        reply = await client.execute_interactive("assert context == ''", timeout=CELL_S, allow_stdin=False)
    except (RuntimeError, TimeoutError) as error:  # what jupyter_client raises for a kernel that does not answer
        raise KernelStartFailed(f"A kernel started, but its client hears nothing of it: {error}.") from error
    finally:
        client.stop_channels()
        await shielded(_shut_down(manager), "the end of the trial's kernel")
    if reply["content"]["status"] != "ok":
        raise KernelStartFailed(f"A kernel started, but its first cell answered {reply['content']['ename']}.")
    return (time.monotonic_ns() - begin) // 1_000_000


async def _shut_down(manager: AsyncKernelManager) -> None:
    await manager.shutdown_kernel(now=True)


def _silent() -> logging.Logger:
    """Silence the manager, which logs every failure with its traceback; here a failure is a row."""
    log = logging.getLogger(__name__)
    log.propagate = False
    log.addHandler(logging.NullHandler())
    return log
