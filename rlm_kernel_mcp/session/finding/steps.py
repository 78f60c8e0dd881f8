"""Notes for the record what steps have delivered of the contexts, after their replies, in a thread of its own.

Is: when that is looked for, and that nobody waits for it. Is not: the search (`placing.py`), nor what the kernel says
of its own searches, which goes with the end of a step (`session/trace/journal.py`). Above:
`session/calls/step_reports.py`. Below: `placing.py`, `thread.py`, `session/seen/`, `store/maps/`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from itertools import pairwise
from typing import Final

from rlm_kernel_mcp.context.loader.places import Places
from rlm_kernel_mcp.context_wire import Shown
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext
from rlm_kernel_mcp.session.finding.given import LINE_CHARS, LONG_CHARS, Given, may_have_lines
from rlm_kernel_mcp.session.finding.placing import is_small, placed, places_of
from rlm_kernel_mcp.session.finding.thread import Finder
from rlm_kernel_mcp.session.kernels.claimed import PlacedLine
from rlm_kernel_mcp.session.seen.ranges import Range
from rlm_kernel_mcp.session.seen.recorded import DELIVERED, delivered_data

UNDER_WAY_MAX: Final = 4
"""Replies of a session that are looked into; a further one meanwhile is not."""

SETTLED_S: Final = 2.0
"""So long the end of a session waits for them."""

log = logging.getLogger(__name__)
_thread = Finder()
"""Of all sessions."""


class SeenSteps:
    """Of one session. Its methods belong to the event loop."""

    def __init__(self, contexts: ContextList) -> None:
        self._contexts = contexts
        self._listed: dict[str, Places] = {}
        """By context, the documents that the record has."""
        self._works: set[Future[None]] = set()
        self._lock = threading.Lock()

    def delivered(self, event: int, texts: Sequence[str], shown: Sequence[Shown]) -> None:
        """A reply had these texts. `event`: its step's row; `shown`: where the kernel says that it has looked."""
        for context in self._contexts.all:
            self._list(context)
        small, least = is_small(self._contexts), LINE_CHARS if shown else LONG_CHARS
        if (shown or small) and len(self._works) < UNDER_WAY_MAX and may_have_lines(texts, least):
            self._do(partial(self._note, event, tuple(texts), tuple(shown)))

    async def settled(self, placed: Sequence[PlacedLine] = ()) -> None:
        """Wait until what was delivered by now has been looked for, but for no disk for long.

        `placed`: what else was found of it, by the check of the final answer.
        """
        if placed:
            self._do(partial(self._note_placed, tuple(placed)))
        with self._lock:
            works = tuple(self._works)
        if works:
            await asyncio.to_thread(wait, works, SETTLED_S)

    def _list(self, context: SessionContext) -> None:
        """Have the record get the documents of a context of which its report names only the first ones."""
        places, report = context.places, context.report
        if places is None or places.starts is None or report is None or self._listed.get(context.name) is places:
            return
        self._listed[context.name] = places
        if len(report.documents) < report.document_count:
            self._do(partial(self._put, context.name, places))

    def _do(self, work: Callable[[], None]) -> None:
        """Have it done in the thread."""
        future = _thread.submit(work)
        with self._lock:
            self._works.add(future)
        future.add_done_callback(self._ended)

    def _put(self, context: str, places: Places) -> None:
        starts = places.starts or ()
        chars = [end - start for start, end in pairwise(starts)]
        self._contexts.store.documents.put(self._contexts.session_id, context, places.names, chars)

    def _note(self, event: int, texts: tuple[str, ...], shown: tuple[Shown, ...]) -> None:
        where = [*shown, *(places_of(self._contexts) if is_small(self._contexts) else ())]
        found = placed(self._contexts, Given.of(texts), where)
        self._add(event, found)

    def _note_placed(self, placed: Sequence[PlacedLine]) -> None:
        by_event: dict[int, dict[str, list[Range]]] = {}
        places = {one.name: one.places for one in self._contexts.all}
        for line in placed:
            of = places.get(line.context)
            if of is not None and of.starts is not None and line.document < len(of):
                first, last = of.starts[line.document], of.starts[line.document + 1]
                if first + line.end <= last:
                    ranges = by_event.setdefault(line.event, {}).setdefault(line.context, [])
                    ranges.append((first + line.start, first + line.end))
        for event, found in by_event.items():
            self._add(event, found)

    def _add(self, event: int, found: Mapping[str, Sequence[Range]]) -> None:
        if any(found.values()):
            store, session_id = self._contexts.store, self._contexts.session_id
            store.seen.add(session_id, store.mint(), event, DELIVERED, delivered_data(found))

    def _ended(self, work: Future[None]) -> None:
        """In the thread. Why it failed nobody waits to hear, but a map that says less must not be silent about it."""
        with self._lock:
            self._works.discard(work)
        error = None if work.cancelled() else work.exception()  # what was behind one that is stuck is not done
        if error is not None and not isinstance(error, sqlite3.ProgrammingError):  # the store was closed before
            log.error("what a step has delivered could not be looked for", exc_info=error)
