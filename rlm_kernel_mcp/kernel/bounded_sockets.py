"""A kernel's sockets as a client with libzmq may use them: what has no end does not reach it.

Is: a thread between the two, which hands bytes on as fast as they are taken, and ends a connection whose message is
past the bounds; the client connects anew. Is not: what a message may be (`kernel/untrusted/relayed/frames.py`), nor
for the host, which has no libzmq (decision 0003). Above: `commands/attached/console.py`, `lab/`. Below: asyncio.

Its own ends have abstract addresses that nobody guesses, and take this process alone: nothing is left where it is
killed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from rlm_kernel_mcp.kernel.untrusted.relayed.frames import FrameWatch, NoMessage

log = logging.getLogger(__name__)

PIECE_BYTES: Final = 1 << 16
PAUSE_S: Final = 2.0
"""After a message past the bounds, before the kernel is connected to anew: a client tries ten times a second."""
IPC: Final = "ipc://"
CREDENTIALS: Final = struct.Struct("3i")


class BoundedSockets:
    """Those of one process."""

    def __init__(self, on_broken: Callable[[str, str], None] = lambda path, why: None) -> None:
        """`on_broken`: is told the path of a kernel's socket and what came; in the thread of this."""
        self._on_broken = on_broken
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: dict[str, tuple[str, asyncio.Server]] = {}
        self._pauses: dict[str, float] = {}

    def url(self, url: str) -> str:
        """Where a client connects to in place of a kernel's own socket; TCP is left as it is, and not for us."""
        path = url.removeprefix(IPC)
        if path == url or path.startswith("@"):
            return url
        if path not in self._listening:
            self._listening[path] = asyncio.run_coroutine_threadsafe(self._listen(path), self._started()).result()
        return f"{IPC}@{self._listening[path][0]}"

    def forget(self, stem: str) -> None:
        """Have no ends any more for the sockets whose paths begin so: their kernel is gone."""
        for path in [path for path in self._listening if path.startswith(f"{stem}-")]:
            _, server = self._listening.pop(path)
            self._pauses.pop(path, None)
            self._started().call_soon_threadsafe(server.close)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="bounds of kernels", daemon=True).start()
        return self._loop

    async def _listen(self, path: str) -> tuple[str, asyncio.Server]:
        name = secrets.token_hex(16)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(f"\0{name}")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                if _is_of_this_process(writer):
                    await self._serve(path, reader, writer)
            finally:
                writer.close()

        return name, await asyncio.start_unix_server(serve, sock=listener, limit=PIECE_BYTES)

    async def _serve(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end on either side."""
        if time.monotonic() < self._pauses.get(path, 0):
            return
        try:
            theirs, to_them = await asyncio.open_unix_connection(path, limit=PIECE_BYTES)
        except OSError:  # it is gone; the client tries again as long as it likes
            return
        watch = FrameWatch()
        ways = [
            asyncio.ensure_future(_handed_on(theirs, writer, watch.look)),
            asyncio.ensure_future(_handed_on(reader, to_them, lambda data: None)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                if way.done() and isinstance(error := way.exception(), NoMessage):
                    self._end(path, str(error), writer)
        finally:
            for way in ways:
                way.cancel()
            to_them.close()

    def _end(self, path: str, why: str, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()  # nothing of the message that waits here is wanted any more
        self._pauses[path] = time.monotonic() + PAUSE_S
        log.warning("a connection to a kernel was ended, and is made anew: %s", why)
        self._on_broken(path, why)


async def _handed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: Callable[[bytes], None]) -> None:
    """Hand on what comes, as far as it is taken. Raises: NoMessage: it must not be."""
    with suppress(ConnectionError):
        while data := await reader.read(PIECE_BYTES):
            look(data)
            writer.write(data)
            await writer.drain()


def _is_of_this_process(writer: asyncio.StreamWriter) -> bool:
    peer: socket.socket = writer.get_extra_info("socket")
    pid, _, _ = CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return bool(pid == os.getpid())
