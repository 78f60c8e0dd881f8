"""What the host tells of a session, where there is a host of this user, installation and state directory.

Is: the connection of one watcher, made when a host is there, and anew when another one is. Is not: a reason to start a
host, nor the only way to follow a session: the record has what happened (`watching/record/news.py`). Above:
`commands/following/follow.py`, `session_stream.py`. Below: `doors/knocking.py`, by which each side looks at the other.
"""

from __future__ import annotations

import json
import math
import os
import select
import socket
import time
from collections.abc import Mapping
from typing import Any, Final

import anyio

from rlm_kernel_mcp.doors.knocking import knock
from rlm_kernel_mcp.front.front import PROOF_NAME, WORD, NoHost, Place

HANDSHAKE_S: Final = 10.0
AGAIN_S: Final = 10.0
"""After a host that did not answer in time, or did not let us in; meanwhile the record is looked at, without a wait."""
MESSAGE_BYTES_MAX: Final = 1 << 18
NO_ANSWER: Final = "the host has not answered yet"
AT_A_TIME: Final = 100
"""Events that are read before what they say is shown."""


class HostFeed:
    """The events of one session, from whichever host there is."""

    def __init__(self, environ: Mapping[str, str], session_id: str) -> None:
        """`environ`: this user's, with the state directory."""
        self._environ, self._session_id = dict(environ), session_id
        self._socket: socket.socket | None = None
        self.refused = "RLM_HOST is off" if environ.get("RLM_HOST") == "off" else ""
        """Why the host does not let us in, or that it did not answer: it is asked again, since others leave it."""
        self._again_at_s = math.inf

    @property
    def is_connected(self) -> bool:
        """Whether a host tells us."""
        return self._socket is not None

    def connect(self) -> None:
        """Be told from now on, if a host is there."""
        if self._socket is not None or (self.refused and time.monotonic() < self._again_at_s):
            return
        try:
            self._socket = _admitted(Place(self._environ), self._session_id)
            self.refused = ""
        except ConnectionError:  # it has just ended
            return
        except TimeoutError:  # it just begins, or is stopped, or the machine has much to do
            self.refused, self._again_at_s = NO_ANSWER, time.monotonic() + AGAIN_S
        except (NoHost, OSError) as error:
            self.refused, self._again_at_s = str(error), time.monotonic() + AGAIN_S

    def events(self, within_s: float) -> list[dict[str, Any]]:
        """What is told within so many seconds, as soon as something is."""
        if self._socket is None:
            time.sleep(within_s)
            return []
        ready = select.select([self._socket], [], [], within_s)[0]
        return self._waiting(AT_A_TIME) if ready else []

    def _waiting(self, most: int) -> list[dict[str, Any]]:
        """What can be read at once."""
        found: list[dict[str, Any]] = []
        while self._socket is not None and len(found) < most:
            try:
                data = self._socket.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.close()
                break
            found.append(json.loads(data))
        return found

    async def come(self) -> list[dict[str, Any]]:
        """As `events`, in an event loop and without an end; nothing: the host has gone, or there is none.

        Whoever is cut off while it waits misses nothing: what is told is read only then.
        """
        if self._socket is None:
            return []
        await anyio.wait_readable(self._socket)
        return self._waiting(AT_A_TIME)

    def close(self) -> None:
        """Leave. Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _admitted(place: Place, session_id: str) -> socket.socket | None:
    """The connection of a watcher; None where no host is. Raises: NoHost, OSError."""
    try:
        # By our own rights: that the records may be read and written.
        proof = os.open(f"{place.state}/{PROOF_NAME}", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # no host has ever been here
        return None
    try:
        if (found := knock(place, "watch", [session_id], [proof], HANDSHAKE_S)) is None:
            return None
    finally:
        os.close(proof)
    connection, _ = found
    connection.send(WORD + b"\0go")
    connection.setblocking(False)
    return connection
