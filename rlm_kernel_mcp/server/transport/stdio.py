"""This process's stdin and stdout as the wire of its one client.

Is: the wire, taken away from descriptors 0 and 1 so that no print of a library can reach it, nor a child read it.
Is not: what goes over it (`wire.py`). Above: `server/app.py`. Below: `wire.py`, `page.py`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rlm_kernel_mcp.server.transport.page import Page
from rlm_kernel_mcp.server.transport.unanswered import Patience
from rlm_kernel_mcp.server.transport.wire import ReadSide, WriteSide, streams_over


@asynccontextmanager
async def stdio_streams(
    on_end: Callable[[], None], patience: Patience, page: int | None = None
) -> AsyncIterator[tuple[ReadSide, WriteSide]]:
    """The streams that the SDK's server runs over, on this process's stdin and stdout.

    `page`: the memfd in which a host that died has left what was under way. Raises: OSError: it is none.
    """
    wire_in, wire_out = claim_stdio()
    with contextlib.ExitStack() as ends:
        kept = None if page is None else ends.enter_context(contextlib.closing(Page(page)))
        async with streams_over(wire_in, wire_out, on_end, patience, kept) as streams:
            yield streams


def claim_stdio() -> tuple[int, int]:
    """Private copies of descriptors 0 and 1; 0 then reads nothing, and 1 writes to stderr, for good."""
    # What a library has buffered by now must not come out between two messages.
    sys.stdout.flush()
    wire_in, wire_out = os.dup(0), os.dup(1)  # not inheritable, as os.dup makes them
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    # A print of a library then goes to the log, and never between two messages.
    os.dup2(2, 1)
    os.close(nothing)
    return wire_in, wire_out
