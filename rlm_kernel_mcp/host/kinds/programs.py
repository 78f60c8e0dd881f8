"""A Python program that calls the session layer by way of its connection, from its admission to its end.

Is: what it opened by its own rights, and its conversation. Is not: the handshake (`door.py`), how calls travel
(`conversation.py`), or what they do (`hosted_calls.py`). Above: `serving.py`. Below: `client.py`, `conversation.py`,
`hosted_calls.py`, `entry/rights.py`.
"""

from __future__ import annotations

import contextlib
import socket

from rlm_kernel_mcp.host.entry.confinement import Peer
from rlm_kernel_mcp.host.entry.handshake import Asked
from rlm_kernel_mcp.host.entry.rights import directories_of
from rlm_kernel_mcp.host.entry.verbs import Serve
from rlm_kernel_mcp.host.kinds.client import Clients, settings_of
from rlm_kernel_mcp.host.kinds.conversation import Conversation
from rlm_kernel_mcp.host.kinds.hosted_calls import HostedCalls


class Programs:
    """The clients that are programs."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def prepared(self, asked: Asked, descriptors: list[int]) -> Serve:
        """What serves a program to its end.

        Raises:
            NoHost: what it handed over or its settings are wrong, or are none that a host serves.
        """
        directories = directories_of(descriptors, asked.state)
        settings = settings_of(asked, directories)

        async def serve(connection: socket.socket, peer: Peer) -> None:
            caller = await self._clients.caller(settings, directories)
            with contextlib.closing(caller):
                calls = HostedCalls(self._clients.registries, settings, caller)
                await Conversation(connection, calls).serve(peer.pidfd)

        return serve
