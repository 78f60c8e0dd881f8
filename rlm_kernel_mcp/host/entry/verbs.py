"""What a peer may ask for at the door, one verb each: to be a client, or to be told something.

Is: what the door has to know of a verb before and after the two looks, which are the same for all. Is not: the table,
which `serving.py` makes, nor what serves (`kinds/`). Above: `door.py`, `serving.py`. Below: `handshake.py`,
`confinement.py`.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from rlm_kernel_mcp.host.entry.confinement import Peer
from rlm_kernel_mcp.host.entry.handshake import Asked

Serve = Callable[[socket.socket, Peer], Awaitable[None]]
"""Serves an admitted peer over its connection, to its end."""
Prepare = Callable[[Asked, list[int]], Serve]
"""Gives what serves a peer, or raises NoHost; called in a thread. The descriptors are closed with the connection."""
Answer = Callable[[Asked, list[int]], Awaitable[Sequence[str]]]
"""Answers the one question of a peer, which goes then; or raises NoHost."""


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """One of the two, and who may ask for it."""

    prepare: Prepare | None = None
    answer: Answer | None = None
    fence: Callable[[Peer], bool] | None = None
    """Whether the peer shows the program that says this. It keeps mistakes out, and nobody who means harm: what lets a
    peer in are the two looks. None: any program of this installation may say it."""
    of_any_version: bool = False
    """Whether a peer that takes this host for one of another version is answered."""
    is_client: bool = True
    """Whether the host stays for who is served so."""
    most: int | None = None
    """How many may be served so at a time; None: as many as there are descriptors for."""
    when_full: str = ""
    """What whoever is refused for that can do, in words."""
