"""The door of the host: who comes in, and who is told why not.

Is: accepting, the two looks at each other, and the bounds on peers that are many, silent or loud. Nothing here waits
for a peer without a deadline, and a new one takes the place of the oldest that has not said all yet. Is not: what is
compared (`entry/confinement.py`), or what becomes of a client (`kinds/`). Above: `serving.py`. Below:
`entry/handshake.py`, `entry/confinement.py`, `entry/verbs.py`, `entry/rights.py`, `entry/closing.py`,
`doors/wire/packets.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import socket
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from rlm_kernel_mcp.doors.wire import packets
from rlm_kernel_mcp.front.front import PACKAGE, NoHost, Place, new_secret
from rlm_kernel_mcp.host.entry import handshake
from rlm_kernel_mcp.host.entry.closing import CLOSING
from rlm_kernel_mcp.host.entry.confinement import Peer
from rlm_kernel_mcp.host.entry.rights import looked_at
from rlm_kernel_mcp.host.entry.verbs import Verb

log = logging.getLogger(__name__)

HANDSHAKE_S: Final = 10.0
GREETED_MAX: Final = 64
"""Peers that have not said all yet. One more takes the place of the oldest."""
DESCRIPTORS_A_CLIENT: Final = 12
"""With what its sessions have open, and without what it hands over."""
FOR_CLIENTS: Final = 0.75
"""Of the descriptors that this process may have; the rest is its own, and for the peers that have not said all yet."""
PAUSE_S: Final = 0.1
"""Before the next look at the door, where the process or the machine has no descriptor left."""
CLOSING_MAX: Final = 0.5
"""Of the descriptors for clients: where so many of peers that are gone cannot be closed, nobody is let in."""


class Door:
    """The listening socket, and everyone who has come by it."""

    def __init__(self, listener: socket.socket, place: Place, verbs: Mapping[str, Verb]) -> None:
        """Listen there. `verbs`: what a peer may ask for."""
        self._served: dict[asyncio.Task[None], Verb] = {}
        self.changed = asyncio.Event()
        """Set whenever somebody came or went."""
        self._greeted: dict[asyncio.Task[None], None] = {}  # a set in the order of arrival
        self._tasks = set[asyncio.Task[None]]()
        self._place = place
        self._pauses_for = ""
        self._verbs = verbs
        self._loop = asyncio.get_running_loop()
        self._taken: dict[asyncio.Task[None], int] = {}
        """How many descriptors are kept for each that is served."""
        self._room = int(resource.getrlimit(resource.RLIMIT_NOFILE)[0] * FOR_CLIENTS)
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
    def clients(self) -> list[asyncio.Task[None]]:
        """For whom the host stays."""
        return [task for task, verb in self._served.items() if verb.is_client]

    @property
    def is_idle(self) -> bool:
        """Whether no client is here, and nobody waits outside."""
        self._accept()
        return not self.clients and not self._greeted

    @property
    def is_open(self) -> bool:
        """Whether it listens."""
        return self._listener.fileno() >= 0

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
                if CLOSING.descriptors > self._room * CLOSING_MAX:
                    self._pause("too many descriptors of clients that are gone cannot be closed")
                    return
                try:
                    connection, _ = self._listener.accept()
                except BlockingIOError:
                    raise
                except OSError as error:  # one that has gone again, or no descriptor is left
                    self._pause(f"{error.strerror}")
                    return
                self._pauses_for = ""
                self._greet(connection)

    def _pause(self, why: str) -> None:
        """Let nobody in for a moment; why is said once, however long it stays so."""
        if why != self._pauses_for:
            log.warning("clients cannot be accepted: %s", why)
            self._pauses_for = why
        self._loop.remove_reader(self._listener)
        self._loop.call_later(PAUSE_S, self._look_again)

    def _look_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    def _greet(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if len(self._greeted) >= GREETED_MAX:
            oldest = next(iter(self._greeted))
            del self._greeted[oldest]
            oldest.cancel()
        received = list[int]()
        task = self._loop.create_task(self._admit(connection, received), name="client")
        self._greeted[task] = None
        self._tasks.add(task)
        task.add_done_callback(self._left)
        # Here: one that is cancelled as it begins runs nothing.
        task.add_done_callback(lambda _task: CLOSING.of_peer(connection, received))
        self.changed.set()

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._greeted.pop(task, None)
        self._served.pop(task, None)
        self._taken.pop(task, None)
        self.changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed", exc_info=error)

    async def _admit(self, connection: socket.socket, received: list[int]) -> None:
        """Talk with a peer until it is a client, and serve it. `received`: its descriptors, closed after this."""
        with contextlib.ExitStack() as owned:
            try:
                async with asyncio.timeout(HANDSHAKE_S):
                    peer, asked, verb, descriptors = await self._introduced(connection, owned, received)
                    if verb.answer is not None:
                        connection.send(handshake.answered(asked.verb, await verb.answer(asked, descriptors)))
                        return
                    prepare = verb.prepare
                    assert prepare is not None
                    serve = await looked_at(lambda: prepare(asked, descriptors))
                    taken = self._room_for(verb, descriptors)
                    task = asyncio.current_task()
                    assert task is not None
                    # From here on, and not once it has said `go`: whoever comes meanwhile is refused in words.
                    self._served[task], self._taken[task] = verb, taken
                    connection.send(handshake.served())
                    if not handshake.is_go(await self._said(connection, received)):
                        return
            except NoHost as refusal:
                log.info("a client was refused: %s", refusal)
                with contextlib.suppress(OSError):
                    connection.send(handshake.refused(str(refusal)))
                return
            except (OSError, TimeoutError) as error:
                log.info("a handshake ended: %s", str(error) or "it took too long")
                return
            del self._greeted[task]
            await serve(connection, peer)

    def _room_for(self, verb: Verb, descriptors: Sequence[int]) -> int:
        """How many descriptors one more takes, which has handed over these. Raises: NoHost: there is no room for it."""
        taken = DESCRIPTORS_A_CLIENT + 2 * len(descriptors)  # the host has copies of its own of a client's roots
        if sum(self._taken.values()) + CLOSING.descriptors + taken > self._room:
            raise NoHost(f"the host has {len(self._served)} clients, and descriptors for no more")
        if verb.most is not None and sum(one is verb for one in self._served.values()) >= verb.most:
            advice = f": {verb.when_full}" if verb.when_full else ""
            raise NoHost(f"the host has {verb.most} connections of this kind, and serves no more at a time{advice}")
        return taken

    async def _introduced(
        self, connection: socket.socket, owned: contextlib.ExitStack, received: list[int]
    ) -> tuple[Peer, handshake.Asked, Verb, list[int]]:
        """The two messages of a peer, once each side has seen into the other; and what serves it."""
        peer = Peer.of(connection)
        owned.callback(peer.close)
        data = await self._said(connection, received)  # first, else the answer would be lost with what is unread
        # What it is and has is looked at in threads of their own: its root, its directories, its memory may hang.
        await looked_at(lambda: peer.require_the_same(self._place.confined))
        theirs = peer.secret(handshake.read_hello(data))
        ours, descriptor = new_secret()
        try:
            connection.send(handshake.seen(theirs, descriptor))
            data, descriptors = await self._received(connection, received)
        finally:
            os.close(descriptor)
        asked = handshake.read_asked(data)
        if asked.nonce != ours:
            raise NoHost("the client could not see into the host: it is in a sandbox")
        verb = self._verbs.get(asked.verb)
        if verb is None:
            raise NoHost(f"the host, of version {self._place.version}, does not know what it is asked for")
        # Only now: one that is in a sandbox is gone.
        if verb.fence is not None and not await looked_at(partial(verb.fence, peer)):
            raise NoHost("the client is no front of this installation")
        peer.require_alive()
        if not verb.of_any_version and (asked.version, asked.package, asked.state) != self._serves:
            raise NoHost("the host serves another version, installation or state directory")
        return peer, asked, verb, descriptors

    @property
    def _serves(self) -> tuple[str, str, str]:
        return self._place.version, PACKAGE, self._place.state

    async def _said(self, connection: socket.socket, received: list[int]) -> bytes:
        """One message that carries no descriptors."""
        data, descriptors = await self._received(connection, received)
        if descriptors:
            raise NoHost("descriptors came with a message that carries none")
        return data

    async def _received(self, connection: socket.socket, received: list[int]) -> tuple[bytes, list[int]]:
        """One message, with its descriptors, which are put to those `received`."""
        await packets.readable(connection)
        data, descriptors, flags = packets.received(connection, handshake.MESSAGE_BYTES_MAX)
        received += descriptors
        if not data:
            raise ConnectionResetError("the client went away")
        if flags & socket.MSG_CTRUNC:
            raise NoHost("the host has no descriptors left for those that came")
        if flags & socket.MSG_TRUNC or len(descriptors) > handshake.DESCRIPTORS_MAX:
            bounds = f"{handshake.MESSAGE_BYTES_MAX:,} bytes and {handshake.DESCRIPTORS_MAX} descriptors"
            raise NoHost(f"a message of the handshake may have {bounds} at most")
        return data, descriptors
