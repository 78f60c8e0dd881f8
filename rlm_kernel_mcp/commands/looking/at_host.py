"""What a command has the host of this user do, as any program of theirs may: a request, and no more.

Is: one connection for one request. Is not: the request (`host/kinds/persons.py`). Above: `kill.py`, `resume.py`. Below:
`doors/knocking.py`, `doors/link.py`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from rlm_kernel_mcp.doors.knocking import attached
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.errors import HostUnavailable
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.shielded import made_in_thread

Request = Callable[[Link], Awaitable[None]]


def ask_host(request: Request) -> None:
    """Have it done by the host that clients with this environment come to, which is started if there is none.

    Raises:
        HostUnavailable: there can be none. HostEnded; and what the host answers.
    """
    asyncio.run(_ask(request))


async def _ask(request: Request) -> None:
    async with AsyncExitStack() as ends:
        program = Program.of({})
        ends.callback(program.close)
        try:
            program.open_directories()
            connection = await made_in_thread(partial(attached, program), socket.socket.close)
        except (NoHost, OSError, ValueError) as error:
            raise HostUnavailable(f"No host can be had for this: {error}.") from None
        link = Link(connection)
        ends.push_async_callback(link.close)
        await request(link)
