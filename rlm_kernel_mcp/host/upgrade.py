"""What a host says to the others of its place as it begins: take no further client.

Is: the words to those of other versions, and the sockets that dead ones left aside. They keep the clients that they
have, and end with the last. Is not: what a host does that is told so (`lifetime.py`). Above: `serving.py`.
Below: `others/known.py`.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.front.front import NoHost, Place
from rlm_kernel_mcp.host.others.known import Known, known_hosts

log = logging.getLogger(__name__)

WAIT_S: Final = 10.0


def drain_others(place: Place) -> None:
    """Tell every other host of this installation and these records. It may wait for them: in a thread."""
    for other in known_hosts(place):
        if (pid := other.pid_aside) is not None:
            _sweep(other.path, pid)
        elif other.path != place.socket:
            _drain(other)


def _drain(other: Known) -> None:
    try:
        other.ask("drain", wait_s=WAIT_S)
    except ConnectionError:
        pass  # it says nothing to that, or has ended
    except (NoHost, OSError) as error:
        log.info("the host of version %s was not told that there is a newer one: %s", other.version, error)


def _sweep(path: str, pid: int) -> None:
    """Remove the socket of one that was killed. The process is asked for, since a socket may not listen yet."""
    if has_ended(pid):
        with suppress(OSError):
            Path(path).unlink()


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to take notice of its end."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"
