"""One who watches a session and can change nothing: a person's `trace --follow`, or a page.

Is: the events of one session, host to watcher, one JSON object a message; they are `session/watching/events.py`'s. Is
not: a call: nothing that a watcher says is read, and whatever it says is its end. Nor a client: it has no roots and no
settings, and neither the host nor a session stays for it. Above: `serving.py`. Below: `pipes.py`, `entry/rights.py`,
`session/watching/`.
"""

from __future__ import annotations

import errno
import logging
import socket

import anyio

from rlm_kernel_mcp.errors import RequestRefused
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.host.entry.confinement import Peer
from rlm_kernel_mcp.host.entry.handshake import Asked
from rlm_kernel_mcp.host.entry.rights import require_records
from rlm_kernel_mcp.host.entry.verbs import Serve
from rlm_kernel_mcp.host.kinds.pipes import end_with
from rlm_kernel_mcp.server.argument_types import SESSION_ID_CHARS_MAX
from rlm_kernel_mcp.session.watching.events import encoded
from rlm_kernel_mcp.session.watching.feeds import Feeds, Watcher

log = logging.getLogger(__name__)


class Watchers:
    """Those whom the door has let in as watchers."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds

    def prepared(self, asked: Asked, descriptors: list[int]) -> Serve:
        """What tells a watcher of the session whose handle it has, until it goes.

        Raises:
            NoHost: it did not show that it may read the records, or names no session.
        """
        if len(descriptors) != 1 or len(asked.words) != 1 or not 0 < len(asked.words[0]) <= SESSION_ID_CHARS_MAX:
            raise NoHost("a watcher shows that it may read the records, and names one session")
        require_records(descriptors[0], asked.state)
        session_id = asked.words[0]

        async def serve(connection: socket.socket, _peer: Peer) -> None:
            try:
                with self._feeds.watch(session_id) as watcher:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(end_with, connection, tasks.cancel_scope)
                        tasks.start_soon(_tell, connection, watcher, tasks.cancel_scope)
            except RequestRefused as refusal:
                log.info("a watcher was refused: %s", refusal.message)

        return serve


async def _tell(connection: socket.socket, watcher: Watcher, scope: anyio.CancelScope) -> None:
    """Send each event once there is room for it. Meanwhile others wait in the watcher's queue, or are dropped."""
    try:
        while True:
            if not await _is_sent(connection, await watcher.next()):
                await _is_sent(connection, encoded({"type": "dropped", "events": 1}))
    except OSError:  # it has gone
        scope.cancel()


async def _is_sent(connection: socket.socket, event: bytes) -> bool:
    """Send an event, if the system has buffers for one so large. Raises: OSError: the watcher has gone."""
    while True:
        try:
            if connection.send(event):
                return True
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return False
            raise
        await anyio.wait_writable(connection)
