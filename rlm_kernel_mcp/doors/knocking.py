"""How a program comes to a host: it finds or starts the one of its user, and each looks at the other.

Is: the handshake of a program, or of a command, which blocks. Is not: what is compared, which a front compares in the
same way (`front/front.py`), nor what is said behind the door (`link.py`). Above: `through_host.py`. Below:
`program.py`, `front/front.py`.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.front import front
from rlm_kernel_mcp.front.front import NoHost, Place
from rlm_kernel_mcp.front.needed import heard

STARTS_MAX: Final = 3
PAUSE_S: Final = 0.01
"""Before the next look, where a host just begins or just ends."""


def knock(
    place: Place, verb: str, words: Sequence[str] = (), descriptors: Sequence[int] = (), wait_s: float = 10.0
) -> tuple[socket.socket, list[str]] | None:
    """Say what we come for to the host of a place; None where nobody listens there.

    Returns:
        The connection, and the words of the host's answer.

    Raises:
        NoHost: one of us may not have to do with the other, or the host refuses. OSError: it has just ended, or does
            not answer; or we are not to connect at all.
    """
    found = place.connect(wait_s)
    if found is None:
        return None
    connection = socket.socket(fileno=found.detach())
    try:
        connection.settimeout(wait_s)
        data = b"\0".join([place.introduced(connection, verb.encode()), *map(os.fsencode, words)])
        socket.send_fds(connection, [data], list(descriptors))
        answer = front.said_by(connection, place.end)
        if answer[0] == "no":
            raise NoHost(answer[-1])
    except BaseException:
        connection.close()
        raise
    return connection, answer


def attached(program: Program) -> socket.socket:
    """The connection to a host that answers this program's calls, which is started if there is none.

    Raises:
        NoHost, OSError: there can be none.
    """
    wait_s = program.settings.host_wait_s
    end, starts = time.monotonic() + wait_s, 0
    while (left := end - time.monotonic()) > 0:
        place = Place(program.environ)
        if place.version != __version__:
            raise NoHost(f"this program runs version {__version__}, and version {place.version} was installed since")
        try:
            connection = _admitted(program, place, left)
        except (ConnectionError, TimeoutError):
            pass  # one just begins, or just ends
        else:
            if connection is not None:
                return connection
            starts += _start(place)
            if starts > STARTS_MAX:
                raise NoHost(f"it ends as it begins; {place.socket}.log says why")
        time.sleep(PAUSE_S)
    raise NoHost(f"no host answered within {wait_s} s")


def _admitted(program: Program, place: Place, wait_s: float) -> socket.socket | None:
    """The connection to the host of a place that is to serve us; None where nobody listens there."""
    Path(place.state).mkdir(0o700, parents=True, exist_ok=True)
    begins = heard(front.PASSED_ON, program.environ)
    variables = (f"{name}={value}" for name, value in program.environ.items() if name.startswith(begins))
    words = [*variables, *(f"--{name}" for name in program.given)]
    # By our own rights, as the directories are: that the records may be read and written.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    proof = os.open(f"{place.state}/{front.PROOF_NAME}", flags, 0o600)
    try:
        found = knock(place, "call", words, [proof, *program.opened], wait_s)
    finally:
        os.close(proof)
    if found is None:
        return None
    connection, answer = found
    if answer[0] != "served":
        with closing(connection):
            raise NoHost(f"the host answers {answer[0]!r}")
    connection.send(front.WORD + b"\0go")
    connection.setblocking(False)
    return connection


def _start(place: Place) -> bool:
    try:
        return bool(front.ours("starting")["start"](place))
    except ChildProcessError:  # who ignores SIGCHLD is not told of a child's end; the next look finds the host
        return True
