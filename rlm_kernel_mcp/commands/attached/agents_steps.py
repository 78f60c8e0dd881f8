"""What the record of a session says of the agent's steps, to a console that hears what runs from the kernel alone.

Is: which step a cell is that begins, which one runs, and for how many answers it waits. Is not: what is shown of it
(`onlooking.py`). Above: `onlooking.py`, `console.py`. Below: the store, which knows a step's number.

The record is written and read beside the messages: a file that another process has to itself cannot be read for a
moment, and that is not taken for a record without the step.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.trace.events import summary_of, waits_of
from rlm_kernel_mcp.store.database.file import FILE_NAME, inode_of
from rlm_kernel_mcp.store.store import EventHead, SessionRecord, Store

AGENTS: Final = "The agent's step"
LATEST: Final = 20
"""Steps that are looked at for those that began while a console did: of them it may hear."""
T = TypeVar("T")


class Step(NamedTuple):
    """A step of the agent."""

    number: int
    code: str
    waits: int = 0
    """For how many answers it waits."""

    @property
    def name(self) -> str:
        return f"{AGENTS} {self.number}"


class AgentsSteps:
    """The record of one session's steps, which its kernel does not write."""

    def __init__(self, state_dir: Path, session_id: str, since_ns: int | None = None) -> None:
        """`since_ns`: when the console began to hear of cells (Unix time); now, without it."""
        self._state_dir = state_dir
        self._session_id = session_id
        self._since_ns = time.time_ns() if since_ns is None else since_ns
        self._known = 0
        """Number of the newest step that is not news to the person."""
        self._asked = "", 0
        """The code of the last cell that was looked for, and when."""
        self._store: Store | None = None
        self._inode: int | None = None
        """Inode of the open file: one that was removed or set aside has nothing new to say."""

    def running(self) -> Step | None:
        """At the start: the step that is running, if one is. What came before is not news from now on."""
        return self._read(self._at_start)

    def begun(self, code: str) -> Step | None:
        """The step that began with this code, if the record has one that is news; it may have ended by now."""
        self._asked = code, time.time_ns()
        return self._read(lambda store, record: self._begun(code, store, record))

    def late(self) -> Step | None:
        """The same once more for the last code, where no step was found: of those that had begun by then."""
        code, until_ns = self._asked
        return self._read(lambda store, record: self._begun(code, store, record, until_ns))

    def waits(self) -> int | None:
        """For how many answers the step waits that runs; None where the record cannot be read just now."""
        return self._read(self._waiting)

    def _at_start(self, store: Store, record: SessionRecord) -> Step | None:
        number = _number(record)
        heads = store.heads(self._session_id, max(number - LATEST, 0), number)
        earlier = (head.row.step_index for head in heads if (head.row.id or 0) < self._since_ns)
        self._known = max(earlier, default=max(number - LATEST, 0))
        return self._step(store, number) if record.status == "running" else None

    def _waiting(self, store: Store, record: SessionRecord) -> int | None:
        number = _number(record)
        heads = store.heads(self._session_id, number, number) if record.status == "running" else []
        waits = next((waits_of(head.row) for head in heads if _is_step(head)), 0)
        return None if store.unread else waits

    def _begun(self, code: str, store: Store, record: SessionRecord, until_ns: int | None = None) -> Step | None:
        for head in store.heads(self._session_id, self._known + 1, _number(record)):
            is_in_time = until_ns is None or (head.row.id or 0) <= until_ns
            is_it = is_in_time and _is_step(head) and head.row.summary == summary_of(code)
            if is_it and (step := self._step(store, head.row.step_index)) is not None:
                self._known = step.number
                return step
        return None

    def _step(self, store: Store, number: int) -> Step | None:
        """A step by its number; None where its row is damaged."""
        heads = store.heads(self._session_id, number, number)
        row = next((store.with_texts(head) for head in heads if _is_step(head)), None)
        return None if row is None else Step(row.step_index, row.code or "", waits_of(row))

    def _read(self, look: Callable[[Store, SessionRecord], T | None]) -> T | None:
        """The result of a look at the record; None where that is damaged or gone, or cannot be read just now."""
        try:
            store = self._open()
            record = store.session(self._session_id, whole=False)
            return None if record is None else look(store, record)
        except (SessionNotFound, ValueError, LookupError, TypeError):
            return None

    def _open(self) -> Store:
        """The record, opened once: a kernel can make up as many cells as it likes, each of which is looked for."""
        file = str(self._state_dir / FILE_NAME)
        if self._store is not None and inode_of(file) != self._inode:
            self._store.close()
            self._store = None
        if self._store is None:
            self._store = Store.open(self._state_dir)
            self._inode = inode_of(file)
        return self._store


def _number(record: SessionRecord) -> int:
    return int(json.loads(record.counters)["step_index"])


def _is_step(head: EventHead) -> bool:
    return (head.row.action, head.row.source) == ("run_repl", "mcp")
