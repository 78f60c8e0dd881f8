"""Writes lines to a client, as fast as it reads them.

Is: the waits for room, on the event loop and without a thread, so that a client that does not read holds up nobody
else, and a writer ends when its connection does. One line is under way at a time: a line that was begun is written to
its end also where the call that brought it is cancelled. Is not: what a line says (`frames.py`). Above: `wire.py`.
Below: `ends.py`, `page.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rlm_kernel_mcp.server.transport.ends import Sink
from rlm_kernel_mcp.server.transport.page import Page

PIECES_A_TURN: Final = 64
"""Writes after which the others have their turn, where the client reads as fast as it is written to."""


class Writer:
    """Used on the event loop alone."""

    def __init__(self, descriptor: int, page: Page | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._sink = Sink(descriptor)
        self._page = page
        self._turn = asyncio.Lock()
        self._length = 0
        self._answers: Sequence[int | None] = ()
        self._left = memoryview(b"")
        self._under_way: asyncio.Future[None] | None = None
        self._is_watched = False
        self._failure: OSError | None = None

    async def write(self, line: bytes, answers: Sequence[int | None] = ()) -> OSError | None:
        """Write a whole line, which answers the requests of these slots; returns why it could not be.

        Callers take turns.
        """
        async with self._turn:
            await self._until_idle()  # a caller that was cancelled has left its line
            if self._failure is None:
                self._left, self._length, self._answers = memoryview(line), len(line), answers
                if self._page is not None:
                    self._page.begin(line)
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
        self._note(is_sure=False)
        try:
            for _ in range(PIECES_A_TURN):
                self._left = self._left[self._sink.write(self._left) :]
                if not self._left:
                    self._end(None)
                    return
        except BlockingIOError:
            self._note(is_sure=True)
            if not self._is_watched:
                self._loop.add_writer(self._sink.number, self._go_on)
                self._is_watched = True
        except OSError as error:
            self._end(error)
        else:
            if not self._is_watched:
                self._loop.call_soon(self._go_on)

    def _note(self, *, is_sure: bool) -> None:
        out = self._length - len(self._left)
        if self._page is not None and (out or is_sure):
            self._page.written(self._length, out, is_sure=is_sure)

    def _end(self, failure: OSError | None) -> None:
        self._failure = self._failure or failure
        if self._page is not None and failure is None:
            self._page.end(self._answers)
        self._left = memoryview(b"")
        if self._is_watched:
            self._loop.remove_writer(self._sink.number)
            self._is_watched = False
        if self._under_way is not None:
            self._under_way.set_result(None)
            self._under_way = None
