"""What a server's sessions have for loading large contexts: loader processes, and the server's own files.

Is: the way from a reading thread to the event loop that starts a process, and the policy's and settings' limits. Is
not: the loading (`context/by_loader.py`). Above: `session/registry.py`. Below: `kernel/pool.py`, `context/`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from typing import Final

from rlm_kernel_mcp.context.loader.client import Process
from rlm_kernel_mcp.context.loader.loaders import CancelCheck, Loaders
from rlm_kernel_mcp.context.loader.spool import GB, Spool
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.settings import Settings

LOOK_S: Final = 0.5


def loaders_of(pool: KernelPool, policy: Policy, settings: Settings) -> Loaders:
    """For all sessions of a server. Call it in the event loop that starts processes."""
    loop = asyncio.get_running_loop()

    def start(file_mb: int, cpu_s: int, check_cancelled: CancelCheck, value_mb: int = 0, /) -> Process | None:
        asked = asyncio.run_coroutine_threadsafe(pool.loader(file_mb, cpu_s, value_mb), loop)
        try:
            while not wait([asked], LOOK_S).done:
                check_cancelled()
        except BaseException:
            if not asked.cancel() and not asked.exception() and (process := asked.result()) is not None:
                process.close()
            raise
        return asked.result()

    return Loaders(
        start,
        Spool(settings.state_dir, settings.spool_gb * GB),
        unpacked_bytes=policy.context.unpacked_max_gb * GB,
        ratio=policy.context.unpacked_ratio_max,
        value_mb=policy.limits.memory_mb,
    )
