"""The door of the host: who comes in, and who is told why not.

Is: accepting, the two looks at each other, and the bounds on peers that are many, silent or loud. Nothing here waits
for a peer without a deadline, and a new one takes the place of the oldest that has not said all yet. Is not: what is
compared (`confinement.py`), or what becomes of a client (`connection.py`). Above: `serving.py`. Below: `handshake.py`,
`confinement.py`, `rights.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from rlm_kernel_mcp.front.front import PACKAGE, NoHost, Place, new_secret
from rlm_kernel_mcp.host import handshake
from rlm_kernel_mcp.host.confinement import Peer
from rlm_kernel_mcp.host.rights import Rights, checked, looked_at

log = logging.getLogger(__name__)

HANDSHAKE_S: Final = 10.0
GREETED_MAX: Final = 64
"""Peers that have not said all yet. One more takes the place of the oldest."""
DESCRIPTORS_A_CLIENT: Final = 24
"""With what its sessions have open. So many clients are served as the limit of descriptors allows."""
PAUSE_S: Final = 0.1
"""Before the next look at the door, where the process or the machine has no descriptor left."""

Serve = Callable[[socket.socket, Peer], Awaitable[None]]
Prepare = Callable[[handshake.Asked, Rights], Serve]


class Door:
    """The listening socket, and everyone who has come by it."""

    def __init__(self, listener: socket.socket, place: Place, prepare: Prepare, drain: Callable[[], None]) -> None:
        """Listen there.

        `prepare` gives, in a thread, what serves a client, or raises NoHost; `drain` is called where a host of another
        version asks.
        """
        self.clients: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()
        """Set whenever somebody came or went."""
        self._greeted: dict[asyncio.Task[None], None] = {}  # a set in the order of arrival
        self._tasks = set[asyncio.Task[None]]()
        self._place = place
        self._prepare = prepare
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._clients_max = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DESCRIPTORS_A_CLIENT
        self.open(listener)

    def open(self, listener: socket.socket) -> None:
        """Listen there from now on."""
        listener.setblocking(False)
        self._listener = listener
        self._loop.add_reader(listener, self._accept)

    def move(self, listener: socket.socket) -> None:
        """Listen there from now on, once whoever waits at the old place is in."""
        self._accept()
        self.close()
        self.open(listener)

    @property
    def is_idle(self) -> bool:
        """Whether nobody is here, and nobody waits outside."""
        self._accept()
        return not self.clients and not self._greeted

    def close(self) -> None:
        """Take nobody any more; those who wait outside find that out at once."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener)
            self._listener.close()

    async def end(self) -> None:
        """End every connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self) -> None:
        if self._listener.fileno() < 0:
            return
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    connection, _ = self._listener.accept()
                except BlockingIOError:
                    raise
                except OSError as error:  # one that has gone again, or no descriptor is left
                    log.warning("a client could not be accepted: %s", error.strerror)
                    self._loop.remove_reader(self._listener)
                    self._loop.call_later(PAUSE_S, self._look_again)
                    return
                self._greet(connection)

    def _look_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _greet(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if len(self._greeted) >= GREETED_MAX:
            oldest = next(iter(self._greeted))
            del self._greeted[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._admit(connection), name="client")
        self._greeted[task] = None
        self._tasks.add(task)
        task.add_done_callback(self._left)
        task.add_done_callback(
            lambda _task: connection.close()
        )  # here: one that is cancelled as it begins runs nothing
        self.changed.set()

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._greeted.pop(task, None)
        self.clients.discard(task)
        self.changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed", exc_info=error)

    async def _admit(self, connection: socket.socket) -> None:
        """Talk with a peer until it is a client, and serve it."""
        with contextlib.ExitStack() as owned:
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    peer, asked, descriptors = await self._introduced(connection, owned)
                    if asked.verb == "drain":
                        self._drain()
                        return
                    serve = await looked_at(lambda: self._prepare(asked, checked(descriptors, self._place.state)))
                    if len(self.clients) >= self._clients_max:
                        raise NoHost(f"the host has {len(self.clients)} clients, and descriptors for no more")
                    connection.send(handshake.served())
                    if not handshake.is_go((await self._received(connection, owned))[0]):
                        return
            except NoHost as refusal:
                log.info("a client was refused: %s", refusal)
                with contextlib.suppress(OSError):
                    connection.send(handshake.refused(str(refusal)))
                return
            except (OSError, TimeoutError) as error:
                log.info("a handshake ended: %s", str(error) or "it took too long")
                return
            task = asyncio.current_task()
            assert task is not None
            del self._greeted[task]
            self.clients.add(task)
            await serve(connection, peer)

    async def _introduced(
        self, connection: socket.socket, owned: contextlib.ExitStack
    ) -> tuple[Peer, handshake.Asked, list[int]]:
        """The two messages of a peer, once each side has seen into the other."""
        peer = Peer.of(connection)
        owned.callback(peer.close)
        data, _ = await self._received(connection, owned)  # first, else the answer would be lost with what is unread
        # What it is and has is looked at in threads of their own: its root, its directories, its memory may hang.
        await looked_at(lambda: peer.require_the_same(self._place.confined))
        theirs = peer.secret(handshake.read_hello(data))
        ours, descriptor = new_secret()
        try:
            connection.send(handshake.seen(theirs, descriptor))
            data, descriptors = await self._received(connection, owned)
        finally:
            os.close(descriptor)
        asked = handshake.read_asked(data)
        if asked.nonce != ours:
            raise NoHost("the client could not see into the host: it is in a sandbox")
        is_known = peer.shows_a_front if asked.verb == "serve" else peer.shows_a_host
        # Only now: one that is in a sandbox is gone.
        if not await looked_at(is_known):
            raise NoHost("the client is no front of this installation")
        peer.require_alive()
        if asked.verb == "serve" and (asked.version, asked.package, asked.state) != self._serves:
            raise NoHost("the host serves another version, installation or state directory")
        return peer, asked, descriptors

    @property
    def _serves(self) -> tuple[str, str, str]:
        return self._place.version, PACKAGE, self._place.state

    async def _received(self, connection: socket.socket, owned: contextlib.ExitStack) -> tuple[bytes, list[int]]:
        """One message, with its descriptors; these are closed with what is `owned`."""
        await _readable(connection)
        data, descriptors, flags, _ = socket.recv_fds(
            connection, handshake.MESSAGE_BYTES_MAX, handshake.DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC
        )
        for descriptor in descriptors:
            owned.callback(os.close, descriptor)
        if not data:
            raise ConnectionResetError("the client went away")
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            bounds = f"{handshake.MESSAGE_BYTES_MAX:,} bytes and {handshake.DESCRIPTORS_MAX} descriptors"
            raise NoHost(f"a message of the handshake may have {bounds} at most")
        return data, descriptors


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
