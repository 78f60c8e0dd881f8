"""Cells that someone ran from an attached console while nobody here listened.

Is: asking the kernel's own history and writing down what is missing. Is not: how a console attaches (`commands/`),
nor the cells that iopub told of at once (`session.py`). Source: Jupyter messaging 5.5, History.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.wire import HISTORY_OF_OTHERS, HistoryRequest

HISTORY_TIMEOUT_S: Final = 2.0
CELLS_MAX: Final = 2_000
CODE_CHARS_MAX: Final = 200_000


async def note_missed_cells(session: Session) -> None:
    """Ask an idle kernel for its history, put unknown cells into the trace; one that does not answer is left alone."""
    kernel = session.idle_kernel
    if kernel is None:
        return
    request: HistoryRequest = {"output": False, "raw": True, "hist_access_type": HISTORY_OF_OTHERS}
    try:
        async with asyncio.timeout(HISTORY_TIMEOUT_S):
            reply = await kernel.client.request("history_request", request, shell=True)
    except (TimeoutError, KernelDied):
        return
    history = reply.content.get("history")
    if not isinstance(history, list):
        return
    for row in history[-CELLS_MAX:]:
        # Our own are the steps.
        if isinstance(row, list) and len(row) == 3 and row[0] == 1 and type(row[1]) is int and isinstance(row[2], str):
            session.journal.missed_console(row[1], row[2][:CODE_CHARS_MAX], session.account)
