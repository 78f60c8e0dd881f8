"""Writes lines to a client, as fast as it reads them.

Is: the waits for room, on the event loop and without a thread, so that a client that does not read holds up nobody
else, and a writer ends when its connection does. One line is under way at a time: a line that was begun is written to
its end also where the call that brought it is cancelled. Is not: what a line says (`frames.py`). Above: `wire.py`.
Below: `ends.py`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rlm_kernel_mcp.server.transport.ends import Sink

PIECES_A_TURN: Final = 64
"""Writes after which the others have their turn, where the client reads as fast as it is written to."""


class Writer:
    """Used on the event loop alone."""

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = Sink(descriptor)
        self._turn = asyncio.Lock()
        self._left = memoryview(b"")
        self._under_way: asyncio.Future[None] | None = None
        self._is_watched = False
        self._failure: OSError | None = None

    async def write(self, line: bytes) -> OSError | None:
        """Write a whole line; returns why it could not be. Callers take turns."""
        async with self._turn:
            await self._until_idle()  # a caller that was cancelled has left its line
            if self._failure is None:
                self._left = memoryview(line)
                self._under_way = self._loop.create_future()
                self._go_on()
                await self._until_idle()
            return self._failure

    def close(self) -> None:
        """Write no more; whoever waits is told. A line that is under way stays as much of a line as is written."""
        self._end(OSError("the connection was closed"))
        self._sink.close()

    async def _until_idle(self) -> None:
        while self._under_way is not None:
            await asyncio.wait([self._under_way])  # which a cancelled caller leaves as it is

    def _go_on(self) -> None:
        """Write what there is room for, and be told when there is more."""
        if self._under_way is None:  # closed meanwhile
            return
        try:
            for _ in range(PIECES_A_TURN):
                self._left = self._left[self._sink.write(self._left) :]
                if not self._left:
                    self._end(None)
                    return
        except BlockingIOError:
            if not self._is_watched:
                self._loop.add_writer(self._sink.number, self._go_on)
                self._is_watched = True
        except OSError as error:
            self._end(error)
        else:
            if not self._is_watched:
                self._loop.call_soon(self._go_on)

    def _end(self, failure: OSError | None) -> None:
        self._failure = self._failure or failure
        self._left = memoryview(b"")
        if self._is_watched:
            self._loop.remove_writer(self._sink.number)
            self._is_watched = False
        if self._under_way is not None:
            self._under_way.set_result(None)
            self._under_way = None
