"""The host at work: its log, its parts, and the order in which they end.

Is: what `main.py` goes on with once clients can wait at the socket; everything large is imported from here on.
Is not: any of the parts. Above: `main.py`. Below: `door.py`, `entry/verbs.py`, `kinds/pipes.py`, `kinds/programs.py`,
`kinds/watching.py`, `kinds/telling.py`, `others/moving.py`, `profiles.py`, `lifetime.py`, `upgrade.py`.
"""

from __future__ import annotations

import asyncio
import io
import logging
import os
import resource
import signal
import socket
import sys
from typing import Final, NoReturn, TextIO

from rlm_kernel_mcp.host.door import Door
from rlm_kernel_mcp.host.entry.confinement import LIMITS, Peer, hard_limit
from rlm_kernel_mcp.host.entry.verbs import Verb
from rlm_kernel_mcp.host.identity import Seat
from rlm_kernel_mcp.host.kinds.client import Clients
from rlm_kernel_mcp.host.kinds.pipes import Pipes
from rlm_kernel_mcp.host.kinds.programs import Programs
from rlm_kernel_mcp.host.kinds.telling import Telling
from rlm_kernel_mcp.host.kinds.watching import Watchers
from rlm_kernel_mcp.host.lifetime import Lifetime
from rlm_kernel_mcp.host.others.known import STATUS, Condition
from rlm_kernel_mcp.host.others.moving import LET_GO, OtherHosts
from rlm_kernel_mcp.host.profiles import HostRegistries
from rlm_kernel_mcp.host.upgrade import drain_others
from rlm_kernel_mcp.server.app import set_deadline
from rlm_kernel_mcp.server.transport.client_log import ClientStream
from rlm_kernel_mcp.session.watching.feeds import WATCHED_BY_MANY, WATCHERS_MAX

log = logging.getLogger(__name__)

DESCRIPTORS: Final = 65_536
LOG_BYTES_MAX: Final = 1_000_000
END_DEADLINE_S: Final = 10.0


class HostLog(io.TextIOBase):
    """The host's own log: a file of at most so many bytes, since nobody looks after it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._left = LOG_BYTES_MAX

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._left -= len(text)
        if self._left > 0:
            self._stream.write(text)
            self._stream.flush()
        return len(text)


def run(seat: Seat, listener: socket.socket) -> NoReturn:
    """Serve until it is over, and end the process."""
    assert sys.stderr is not None
    sys.stdout = sys.stderr = out = ClientStream(HostLog(sys.stderr))
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(stream=out, level=logging.WARNING, format=form)
    logging.getLogger("rlm_kernel_mcp").setLevel(logging.INFO)
    for which in LIMITS.values():
        resource.setrlimit(which, (hard_limit(which), hard_limit(which)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        asyncio.run(_serve(seat, listener))
    except BaseException:
        log.exception("the host ended")
        raise
    os._exit(0)


def _verbs(profiles: HostRegistries, telling: Telling) -> dict[str, Verb]:
    """All that a peer may ask for."""
    clients = Clients(profiles)
    return {
        "serve": Verb(Pipes(clients).prepared, fence=Peer.shows_a_front),
        "call": Verb(Programs(clients).prepared),
        "watch": Verb(Watchers(profiles.feeds).prepared, is_client=False, most=WATCHERS_MAX, when_full=WATCHED_BY_MANY),
        "drain": Verb(answer=telling.drain, fence=Peer.shows_a_host, of_any_version=True),
        LET_GO: Verb(answer=telling.let_go, fence=Peer.shows_a_host, of_any_version=True),
        STATUS: Verb(answer=telling.status, of_any_version=True),
    }


async def _serve(seat: Seat, listener: socket.socket) -> None:
    profiles = HostRegistries(OtherHosts(seat.place))
    lifetime = Lifetime(seat, float(os.environ.get("RLM_HOST_IDLE_S") or 60), lambda: profiles.is_busy)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, lifetime.stop)
    telling = Telling(lambda: Condition(len(door.clients), lifetime.drains), lifetime.drain, profiles.hand_over)
    door = Door(listener, seat.place, _verbs(profiles, telling))
    told = asyncio.ensure_future(asyncio.to_thread(drain_others, seat.place))
    await lifetime.over(door)
    told.cancel()
    seat.give_up()  # the next host may begin: for the sessions that this one still has, it waits
    set_deadline(END_DEADLINE_S)
    await door.end()
    await profiles.close()
