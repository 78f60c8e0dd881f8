"""Looks whether the files of a session's contexts have changed, beside everything else.

Is: when that is asked, in a thread, and how long anybody waits for it. Is not: what is asked (`changes.py`). Above:
`session/session.py`, `session/registry.py`. Below: `contexts.py`, `changes.py`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from rlm_kernel_mcp.session.contexts.contexts import ContextList

log = logging.getLogger(__name__)
LOOK_S: Final = 0.05
"""So long the end of a step waits for what the file system says of the contexts' files."""
LOOKS_MAX: Final = 8
_lookers = ThreadPoolExecutor(LOOKS_MAX, thread_name_prefix="look at files")


class FileLooks:
    """Of one session. Belongs to the event loop."""

    def __init__(self, contexts: ContextList) -> None:
        self._contexts = contexts
        self._look: Future[None] | None = None
        """A thread's own: most looks end before anybody asks, and need not wake the event loop for that."""

    def begin(self) -> None:
        """Begin to ask the file system whether the contexts' files have changed; this waits for nothing."""
        marks = [one.marks for one in self._contexts.all if one.marks is not None and one.marks.wanted]
        if marks and (self._look is None or self._look.done()):

            def look() -> None:
                for files in marks:
                    files.look()

            self._look = _lookers.submit(look)

    async def changed(self) -> tuple[str, ...]:
        """The names of the contexts whose files have changed since they were read; waits a moment for `begin`."""
        if self._look is not None and not self._look.done():
            await asyncio.wait({asyncio.wrap_future(self._look)}, timeout=LOOK_S)
        if self._look is not None and self._look.done() and (error := self._look.exception()) is not None:
            log.error("the look at the contexts' files failed", exc_info=error)
        return self._contexts.changed()
