"""What is said to a person at a console whose kernel gives no sign of life, from its session's record.

Is: the words, and when they are news. Is not: the heartbeat (`console.py`). Above: `console.py`. Below:
the store, `session/listing.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.listing import is_driven
from rlm_kernel_mcp.store.store import SessionRecord, Store

LOOK_S: Final = 1.0
"""Seconds between two looks at the record, while the kernel stays silent."""
LEAVE: Final = "Leave (exit or Ctrl-D)"
FAREWELLS: Final = ("exit", "quit", "exit()", "quit()", "%exit", "%quit")
"""Cells that leave the console, whose kernel would otherwise say so."""


class LostKernel:
    """Reports what became of one kernel of one session."""

    def __init__(
        self, state_dir: Path, session_id: str, connection_file: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._state_dir = state_dir
        self._session_id = session_id
        self._connection_file = connection_file
        self._now = now
        self._told = ""
        self._next_look = 0.0

    def news(self, alive: bool) -> str:
        """A line, when the kernel has fallen silent and when the record has another reason for it; else nothing."""
        if alive:
            self._told, self._next_look = "", 0.0
        elif self._now() >= self._next_look:
            self._next_look = self._now() + LOOK_S
            if (words := self.words()) != self._told:
                self._told = words
                return f"{words}\n"
        return ""

    def answer(self, sent: bool) -> str:
        """What to say to a cell that the person enters, or had `sent` before."""
        return f"{'No answer comes to your cell.' if sent else 'Your cell was not run.'} {self.words()}"

    def words(self) -> str:
        """What the record says just now."""
        return f"The kernel gives no sign of life{self._reason()}"

    def _reason(self) -> str:
        store = Store.open(self._state_dir)
        try:
            record = store.session(self._session_id, whole=False)
            if record is not None:
                return self._fate(record, driven=is_driven(store, record))
            if store.unread:
                return f", and its session's record cannot be read. {store.unread} {LEAVE}."
            return f": its session is no longer recorded. {LEAVE}."
        except SessionNotFound:
            return f". What its session's record says of it is damaged. {LEAVE}."
        finally:
            store.close()

    def _fate(self, record: SessionRecord, *, driven: bool) -> str:
        trace = f"{LEAVE}; `rlm-kernel-mcp trace {self._session_id}` shows what was done."
        if record.status == "finalized":
            return f": the session has its final answer, and so it has no kernel any more. {trace}"
        if not driven:
            return f": the session's server has ended. The agent's next step may start another kernel. {trace}"
        if record.connection_file in ("", self._connection_file):
            return f". The agent's next step starts another if it has ended. {LEAVE}, and attach again then."
        return f": the session has another kernel by now. {LEAVE}, and attach again."
