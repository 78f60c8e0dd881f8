"""One client's connection from its first line to its last, beside others in the same process.

Is: what the connection has, put together and taken apart: afterwards there is no thread, descriptor or task of it left.
Is not: a process and its signals (`server/app.py`), its log (`client_log.py`), nor who the client is. Below: `wire.py`,
`page.py`.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Final

import anyio
from mcp.server.lowlevel import Server
from mcp.types import JSONRPCRequest

from rlm_kernel_mcp.server.transport.page import Page
from rlm_kernel_mcp.server.transport.unanswered import Patience
from rlm_kernel_mcp.server.transport.wire import streams_over

log = logging.getLogger(__name__)

END_S: Final = 10.0
"""Seconds from the end of the input to that of the connection, whatever is still asked and whoever does not read."""


def no_patience(_request: JSONRPCRequest) -> float:
    """Seconds that a request may still take when the input has ended."""
    return 0.0


async def serve_connection(
    server: Server[Any],
    wire_in: int,
    wire_out: int,
    page: int | None = None,
    *,
    patience: Patience = no_patience,
) -> None:
    """Serve the client at these descriptors until its input ends; cancel it to end it before.

    The descriptors stay the caller's own, with their flags as they are. `page`: the memfd in which what is under way is
    written down for the client's front, and in which a host before this one may have left it.

    Raises:
        OSError: the page is none.
    """
    with contextlib.ExitStack() as ends:
        kept = None if page is None else ends.enter_context(contextlib.closing(Page(page)))
        scope = ends.enter_context(anyio.CancelScope())

        def bound() -> None:
            scope.deadline = anyio.current_time() + END_S

        try:
            async with streams_over(wire_in, wire_out, bound, patience, kept) as (read_side, write_side):
                await server.run(read_side, write_side, server.create_initialization_options())
        except* (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # The SDK was about to hand on a message when its other half ended. Nobody is left to be told.
            log.info("a connection ended in the middle of a message")
