"""Reads frames from a client, when the server asks for the next one.

Is: the waits for bytes, on the event loop and without a thread, so that a reader ends when its connection does. It is
ahead of the server by one piece of input and the line that it is in the middle of. Is not: what a line is (`lines.py`).
Above: `wire.py`. Below: `ends.py`, `lines.py`, `page.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from typing import Final

from rlm_kernel_mcp.server.transport.ends import Source
from rlm_kernel_mcp.server.transport.frames import Frame, refuse_unread_line
from rlm_kernel_mcp.server.transport.lines import Line, Lines, frame_of
from rlm_kernel_mcp.server.transport.page import Page

log = logging.getLogger(__name__)

SHORT_BYTES: Final = 1 << 14
"""A longer line is read in a thread of its own: it may take seconds, in which the others are served."""
PIECES_A_TURN: Final = 64
"""Lines, and pieces of lines, after which the others have their turn, also where the next one is there already."""


class Reader:
    """Used on the event loop alone, by one caller at a time."""

    def __init__(self, descriptor: int, page: Page | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = Source(descriptor)
        self._page = page
        position, piece = (0, b"") if page is None else page.left_over()
        self._lines = Lines(position)
        self._lines.feed(piece)
        self._taken = 0
        self._is_watched = self._has_ended = False
        self._waiting: asyncio.Future[bytes] | None = None

    async def next(self) -> Frame | None:
        """The next frame; None at the end of the input. Whoever asks for it has dealt with the last one."""
        while not self._has_ended:
            self._taken += 1
            if self._taken % PIECES_A_TURN == 0:
                await asyncio.sleep(0)
            line = self._lines.next()
            if line is None:
                piece = await self._piece()
                self._lines.feed(piece)
                if piece:
                    continue
                self._has_ended = True
                line = self._lines.rest()
            if self._page is not None and self._page.passes_over:
                frame = refuse_unread_line(bytes(line.text)) if self._page.is_to_answer else None
                self._page.whole(self._lines.position, line.text, self._lines.ahead)
            else:
                if self._page is not None:
                    self._page.whole(self._lines.position, line.text, self._lines.ahead)
                frame = frame_of(line) if line.length <= SHORT_BYTES else await self._in_a_thread(line)
            if frame is not None:
                return frame
        return None

    def note(self, ids: Sequence[object]) -> list[int | None]:
        """Write down that these requests of the last frame are about to be served; returns their slots in the page."""
        return [None] * len(ids) if self._page is None else self._page.note(ids, self._lines.position)

    def close(self) -> None:
        """Read no more. Whoever waits for the next frame is told that there is none."""
        self._has_ended = True
        self._unwatch()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(b"")
        self._source.close()

    async def _piece(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            return self._read()
        self._waiting = self._loop.create_future()
        self._watch()
        return await self._waiting

    def _read(self) -> bytes:
        """What is there now; nothing at the end, and where it cannot be read."""
        try:
            if self._page is None:
                return self._source.read()
            self._page.passed(self._lines.position)
            return self._page.read(self._source)
        except BlockingIOError:
            raise
        except OSError as error:
            log.warning("stdin ended: %s", error.strerror)
            return b""

    def _ready(self) -> None:
        """Something has come: it is read here, so that the event loop does not say so twice."""
        if self._waiting is None or self._waiting.done():
            self._unwatch()  # nobody waits for it yet: the client's own pipe holds it up
            return
        with contextlib.suppress(BlockingIOError):
            self._waiting.set_result(self._read())

    def _watch(self) -> None:
        if not self._is_watched:
            self._loop.add_reader(self._source.number, self._ready)
            self._is_watched = True

    def _unwatch(self) -> None:
        if self._is_watched:
            self._loop.remove_reader(self._source.number)
            self._is_watched = False

    async def _in_a_thread(self, line: Line) -> Frame | None:
        """The frame of a long line. The thread waits for nothing, so that it ends by itself whatever happens here."""
        read: asyncio.Future[Frame | None] = self._loop.create_future()

        def run() -> None:
            frame: Frame | None = None
            try:
                frame = frame_of(line)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                    self._loop.call_soon_threadsafe(_tell, read, frame)

        try:
            threading.Thread(target=run, name="long line", daemon=True).start()
        except RuntimeError:  # the limit of threads or processes is reached: it is read here, and the others wait
            return frame_of(line)
        return await read


def _tell(read: asyncio.Future[Frame | None], frame: Frame | None) -> None:
    if not read.done():
        read.set_result(frame)
