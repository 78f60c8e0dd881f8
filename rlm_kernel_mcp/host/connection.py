"""One client of the host, from its admission to its end.

Is: its settings, its server over its own pipes, and the ends: of its input, of its front, of the process that started
that. Is not: the handshake (`door.py`), or what carries messages (`server/transport/connection.py`).
Above: `main.py`. Below: `server/mcp_server.py`, `server/transport/connection.py`, `rights.py`.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.front.front import NoHost
from rlm_kernel_mcp.host import handshake
from rlm_kernel_mcp.host.confinement import Peer
from rlm_kernel_mcp.host.rights import LOOKS, Rights
from rlm_kernel_mcp.server.app import end_of_starter, patience
from rlm_kernel_mcp.server.mcp_server import build_server
from rlm_kernel_mcp.server.transport.connection import serve_connection
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.settings import TABLE, Settings, doubts, load_settings
from rlm_kernel_mcp.shielded import made_in_thread

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)


ROOTS: Final = "RLM_CONTEXT_ROOTS"
"""The one setting that a front turns into descriptors; what it says is not looked at here."""


class Registries(Protocol):
    """Where a client's registry is found."""

    async def registry_for(self, settings: Settings) -> Registry:
        """A registry for these settings; closing it ends nothing that others use."""

    async def of_session(self, settings: Settings, session_id: str) -> Registry:
        """The registry that answers for a handle."""


class Clients:
    """Those whom the door has let in."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries
        self._numbers = itertools.count(1)

    def prepared(self, asked: handshake.Asked, rights: Rights) -> Callable[[socket.socket, Peer], Awaitable[None]]:
        """What serves a client to its end.

        Raises:
            NoHost: its settings are wrong, or are none that a host serves.
        """
        try:
            settings = settings_of(asked, rights)
        except RlmError as error:
            raise NoHost(error.message) from error

        async def serve(connection: socket.socket, peer: Peer) -> None:
            # Only here: of a client that does not go on after it was prepared nobody closes them.
            copies = _copies(descriptor for _, descriptor in rights.roots)
            roots = await made_in_thread(lambda: _roots(copies), Roots.close, LOOKS)
            caller = Caller(f"client {next(self._numbers)}", settings, roots)

            async def told_and_served() -> None:
                for doubt in doubts(asked.environ, settings):
                    log.warning("%s", doubt)
                await serve_connection(
                    server, rights.wire_in, rights.wire_out, rights.stderr, rights.page, patience=patience
                )
                _say_end(connection)
                tasks.cancel_scope.cancel()

            spoken = anyio.Event()
            server = build_server(
                lambda: self._registries.registry_for(settings),
                spoken.set,
                lambda _ctx: caller,
                lambda session_id: self._registries.of_session(settings, session_id),
            )
            with contextlib.closing(caller):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_end_with, connection, tasks.cancel_scope)
                    tasks.start_soon(_end_with_parent_of, peer, spoken, connection, tasks.cancel_scope)
                    tasks.start_soon(told_and_served)

        return serve


def _copies(descriptors: Iterable[int]) -> list[int]:
    """As many descriptors, or none: where there is no room for all, nobody would close the first ones."""
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, descriptors))
    except OSError:
        for copy in copies:
            os.close(copy)
        raise
    return copies


def _roots(descriptors: list[int]) -> Roots:
    """Roots that have these descriptors for their own; it may wait for a file system."""
    try:
        return Roots.of_descriptors(descriptors.pop(0) for _ in range(len(descriptors)))
    finally:
        for left in descriptors:
            os.close(left)


def settings_of(asked: handshake.Asked, rights: Rights) -> Settings:
    """A client's settings, with the roots that it opened.

    Raises:
        NoHost: it is to be served in a process of its own. InvalidInput: a setting is wrong.
    """
    known = {row.variable for row in TABLE}
    if unknown := set(asked.options) - known:
        raise NoHost(f"there is no such option: {', '.join(sorted(unknown))}")
    values = {name: value for name, value in asked.environ.items() if name != ROOTS}
    options = {name: values[name] for name in asked.options if name in values}
    settings = load_settings(rights.cwd, {name: values[name] for name in values.keys() - options.keys()}, options)
    if settings.sandbox_mode == "container":
        raise NoHost(
            "with RLM_SANDBOX_MODE=container each client has its own server, which calls the engine by its own rights"
        )
    if os.path.realpath(settings.state_dir) != asked.state:
        raise NoHost("RLM_STATE_DIR is not what the front took it for")
    return replace(settings, context_roots=tuple(path for path, _ in rights.roots))


async def _end_with(connection: socket.socket, scope: anyio.CancelScope) -> None:
    """End when the front does: it says nothing more, so whatever can be read is its end."""
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
