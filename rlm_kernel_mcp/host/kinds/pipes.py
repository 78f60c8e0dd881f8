"""A client that speaks MCP over the pipes that its front handed over, from its admission to its end.

Is: its server over its own pipes, and the ends: of its input, of its front, of the process that started that. Is not:
the handshake (`door.py`), what it may open (`client.py`), or what carries messages
(`server/transport/connection.py`). Above: `serving.py`. Below: `client.py`, `server/mcp_server.py`,
`server/transport/connection.py`, `entry/rights.py`, `notebook/asked.py`.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from pathlib import Path

import anyio

from rlm_kernel_mcp.host.entry import handshake
from rlm_kernel_mcp.host.entry.confinement import Peer
from rlm_kernel_mcp.host.entry.rights import checked
from rlm_kernel_mcp.host.entry.verbs import Serve
from rlm_kernel_mcp.host.kinds.client import Clients, settings_of
from rlm_kernel_mcp.notebook.asked import notebook_of_session
from rlm_kernel_mcp.server import tools
from rlm_kernel_mcp.server.app import end_of_starter, patience
from rlm_kernel_mcp.server.elsewhere import in_cluster
from rlm_kernel_mcp.server.mcp_server import build_server, offer_resources
from rlm_kernel_mcp.server.transport.client_log import logged_at
from rlm_kernel_mcp.server.transport.connection import serve_connection
from rlm_kernel_mcp.settings import doubts

log = logging.getLogger(__name__)


class Pipes:
    """The clients that have a front."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def prepared(self, asked: handshake.Asked, descriptors: list[int]) -> Serve:
        """What serves a client to its end.

        Raises:
            NoHost: what it handed over or its settings are wrong, or are none that a host serves.
        """
        rights = checked(descriptors, asked.state)
        settings = settings_of(asked, rights)
        registries = self._clients.registries

        async def serve(connection: socket.socket, peer: Peer) -> None:
            caller = await self._clients.caller(settings, rights)

            async def told_and_served() -> None:
                for doubt in doubts(asked.environ, settings):
                    log.warning("%s", doubt)
                await serve_connection(server, rights.wire_in, rights.wire_out, page=rights.page, patience=patience)
                _say_end(connection)
                tasks.cancel_scope.cancel()

            spoken, is_routed = anyio.Event(), bool(settings.cluster)
            server = build_server(
                lambda: in_cluster.opened(settings) if is_routed else registries.registry_for(settings),
                spoken.set,
                lambda _ctx: caller,
                None if is_routed else lambda session_id: registries.of_session(settings, session_id),
                asks_models=settings.subcalls.is_open_world,
                is_answered=settings.subcalls.is_answered,
                do=in_cluster.do if is_routed else tools.here,
            )
            offer_resources(server, lambda _ctx: caller, in_cluster.notebook if is_routed else notebook_of_session)
            with contextlib.closing(caller):
                async with logged_at(rights.stderr), anyio.create_task_group() as tasks:
                    tasks.start_soon(end_with, connection, tasks.cancel_scope)
                    tasks.start_soon(_end_with_parent_of, peer, spoken, connection, tasks.cancel_scope)
                    tasks.start_soon(told_and_served)

        return serve


async def end_with(connection: socket.socket, scope: anyio.CancelScope) -> None:
    """End when the peer does: it says nothing more, so whatever can be read is its end."""
    await anyio.wait_readable(connection)
    scope.cancel()


def _say_end(connection: socket.socket) -> None:
    """Have the front end too: a connection that ends without it is a host's death, and the front looks for another."""
    with contextlib.suppress(OSError):
        connection.send(handshake.end())


async def _end_with_parent_of(
    peer: Peer, spoken: anyio.Event, connection: socket.socket, scope: anyio.CancelScope
) -> None:
    """End when the process ends that started the front: another may hold its end of the pipe, so that no EOF comes."""
    parent = await end_of_starter(spoken, lambda: _parent(peer.pid))
    if parent is not None:
        log.warning("ending: process %d, which started this client's front, has ended", parent)
        _say_end(connection)
        scope.cancel()


def _parent(pid: int) -> int:
    """The parent of a process; 0 where it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("PPid:"):
                return int(line.partition(":")[2])
    return 0
