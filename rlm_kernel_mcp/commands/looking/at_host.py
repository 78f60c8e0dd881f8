"""What a command has the host of this user do, as any program of theirs may: a request, and no more.

Is: whether a host has a session, and one connection for one request. Is not: the request (`host/kinds/persons.py`).
Above: `kill.py`, `resume.py`, `files.py`. Below: `hosts.py`, `doors/knocking.py`, `doors/link.py`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

from rlm_kernel_mcp.commands.looking.hosts import place_of
from rlm_kernel_mcp.doors.knocking import attached
from rlm_kernel_mcp.doors.link import Link
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.errors import HostUnavailable, SessionElsewhere
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.host.others.known import Known, host_of
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import made_in_thread

Request = Callable[[Link], Awaitable[None]]


def require_host(settings: Settings, environ: Mapping[str, str], session_id: str, holder: int, instead: str) -> None:
    """Raise SessionElsewhere unless a host of this user has the session. `instead`: what to do then."""
    try:
        other: Known | None = host_of(place_of(settings, environ), holder)
    except (NoHost, OSError):
        other = None
    if other is None:
        who = f"pid {holder}" if holder else "its pid is not known"
        raise SessionElsewhere(
            f"Session {session_id} is driven by a server ({who}) that is no host of yours, and cannot be asked.",
            instead,
        )


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
