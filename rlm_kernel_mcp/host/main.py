"""The host as a process: one server for all clients of a user, an installation, a version and a state directory.

Is: its start, with the lock that the starting front hands over, and the order in which everything ends. It listens
before it imports anything large: clients wait at the socket meanwhile. Is not: what it does then (`serving.py`, below).
A front starts it (`front/starting.py`). Below: `identity.py`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from rlm_kernel_mcp.front.front import Place, check_directory
from rlm_kernel_mcp.front.starting import KILLED
from rlm_kernel_mcp.host.identity import Seat


def main() -> NoReturn:
    """Take the place that a front has locked for us, let that front go on, and serve until it is over."""
    lock = int(os.environ.pop("RLM_HOST_LOCK"))
    for entry in [*Path("/proc/self/fd").iterdir()]:  # what the client that was first has open is nobody else's
        if (descriptor := int(entry.name)) > 2 and descriptor != lock:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(descriptor)
    os.umask(0o077)
    seat = Seat(Place(dict(os.environ)), lock)
    check_directory(seat.place.directory)
    written = os.open(
        f"{seat.place.socket}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o600
    )
    for stream in (1, 2):
        os.dup2(written, stream)
    os.close(written)
    ready, tell = os.pipe()
    if child := os.fork():  # an heir of the front would end with what ends the front's whole family
        os.close(tell)
        os._exit(0 if os.read(ready, 1) else _status_of(child))
    os.close(ready)
    os.setsid()
    os.chdir("/")
    listener = seat.take()
    os.write(tell, b"1")
    os.close(tell)
    _run(seat, listener)


def _status_of(child: int) -> int:
    """How a host ended that never listened; as a shell says it of one that was killed, after which another is tried."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return KILLED - status if status < 0 else status or 1


def _run(seat: Seat, listener: socket.socket) -> NoReturn:
    from rlm_kernel_mcp.host.serving import run

    run(seat, listener)


if __name__ == "__main__":
    sys.exit(main())
