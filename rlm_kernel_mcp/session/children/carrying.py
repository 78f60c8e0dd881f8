"""Brings the long text of a child's question from the kernel of its parent into a file of the server's own.

Is: the pipe, what it may take of time and disk, and the end of one that nobody waits for. Is not: how a kernel is asked
(`session/asking/passing.py`), nor the child that has the text (`opening.py`). Above: `nesting.py`, `opening.py`. Below:
`session/kernels/long_text.py`, `context/loader/text_file.py`.

A child lives no longer than its parent's step in this process, and so does the file: no other server has a use for it.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.context.loader.text_file import TextFile
from rlm_kernel_mcp.errors import ContextTooLarge, KernelDied
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.session.answering.questions import Coming
from rlm_kernel_mcp.session.kernels.long_text import pages_of

FAMILY_BYTES_MAX: Final = 256 << 20
"""Of the long texts of all children below one session."""
ALL_BYTES_MAX: Final = 1 << 30
"""Of those of all sessions; and no more than half of the spool, which others' contexts need."""

_readers = ThreadPoolExecutor(256, thread_name_prefix="text of a child")
"""Threads, each of which waits for one kernel; no other session waits for it."""


class Allowance:
    """What the long texts of children may take of the disk. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used = Counter[str]()
        """By the session above all of a family."""

    def take(self, top: str, byte_count: int, spool: Spool) -> None:
        """So much more is written. Raises: ContextTooLarge."""
        all_bytes = min(ALL_BYTES_MAX, spool.limit_bytes // 2)
        with self._lock:
            for most, used, whose in (
                (FAMILY_BYTES_MAX, self._used[top], "a session's children"),
                (all_bytes, self._used.total(), "the children of all sessions"),
            ):
                if used + byte_count > most:
                    raise ContextTooLarge(
                        f"The long texts of {whose} may have {most:,} bytes at a time, of which {used:,} are in use.",
                        "Ask about fewer texts at a time, or about shorter ones.",
                    )
            self._used[top] += byte_count

    def give_back(self, top: str, byte_count: int) -> None:
        """It is gone."""
        with self._lock:
            self._used[top] -= byte_count
            if not self._used[top]:
                del self._used[top]

    @property
    def used_bytes(self) -> int:
        """Of all families."""
        return self._used.total()


@dataclass(frozen=True, slots=True)
class Carried:
    """A text that has come, for as long as its child may have a kernel made ready with it."""

    text: TextFile
    release: Callable[[], None]
    """It is wanted no more. Once."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """Of one session."""

    top: str
    """The session above all of its family."""
    allowance: Allowance
    turn: asyncio.Lock
    """One text at a time, up to the end of its thread."""

    async def carried(self, coming: Coming, spool: Spool) -> Carried:
        """The text, once it is there, if that is what was announced. Nothing of another stays.

        Raises:
            KernelDied: it did not come as it should. ContextTooLarge: there is no room for it.
        """
        await self.turn.acquire()
        with ExitStack() as undo:
            undo.callback(self.turn.release)
            reader, writer = os.pipe2(os.O_CLOEXEC)
            stop, loop = threading.Event(), asyncio.get_running_loop()
            reading = loop.run_in_executor(_readers, self._read, reader, coming.chars, spool, stop)
            undo.pop_all()
        # With its thread: a kernel that asks and gives up again and again is not to have all of them.
        reading.add_done_callback(lambda _: self.turn.release())
        try:
            await coming.send(writer)
            await asyncio.wait({reading})
        except BaseException:
            stop.set()
            reading.add_done_callback(_let_go)  # it may have come all the same
            raise
        try:
            return reading.result()
        except StreamBroken as error:
            raise KernelDied(f"The text of its context did not come as it should: {error}.") from error

    def _read(self, reader: int, chars: int, spool: Spool, stop: threading.Event) -> Carried:
        """In a thread. Raises: StreamBroken, ContextTooLarge."""
        taken = 0
        with ExitStack() as undo:
            undo.callback(os.close, reader)
            text = TextFile(spool)

            def release() -> None:
                text.release()
                self.allowance.give_back(self.top, taken)

            kept = undo.enter_context(ExitStack())
            kept.callback(release)
            for page in pages_of(reader, chars, stop):
                self.allowance.take(self.top, len(page.data), spool)
                taken += len(page.data)
                text.add(page.data)
            if text.chars != chars:
                raise StreamBroken(f"it has {text.chars:,} characters, and was said to have {chars:,}")
            text.end()
            kept.pop_all()
        return Carried(text, release)


def _let_go(reading: asyncio.Future[Carried]) -> None:
    if not reading.cancelled() and reading.exception() is None:
        reading.result().release()
