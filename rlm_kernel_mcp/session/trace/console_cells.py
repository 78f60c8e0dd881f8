"""Cells that someone ran from an attached console while nobody here was listening.

Is: asking the kernel's own history and writing down what is missing. Is not: how a console attaches (`commands/`), nor
the cells that iopub reported at once (`session.py`). Source: Jupyter messaging 5.5, History.
Above: `session/registry.py`. Below: `journal.py`, `kernel/`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.answers import history_cells
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.wire import HISTORY_OF_OTHERS, HistoryRequest

HISTORY_TIMEOUT_S: Final = 2.0


async def note_missed_cells(kernel: Kernel, journal: Journal, account: Account) -> None:
    """Ask an idle kernel for its history and record unknown cells; a kernel that does not answer is left alone."""
    request: HistoryRequest = {"output": False, "raw": True, "hist_access_type": HISTORY_OF_OTHERS}
    try:
        async with asyncio.timeout(HISTORY_TIMEOUT_S):
            reply = await kernel.client.request("history_request", request, shell=True)
    except (TimeoutError, KernelDied):
        return
    for count, code in history_cells(reply.content):  # our own are not in it: they are the steps
        journal.missed_console(count, code, account)
