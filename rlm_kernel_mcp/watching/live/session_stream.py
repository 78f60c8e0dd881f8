"""One session, told to one page: what the record has, what is new there, and what a host tells sooner.

Is: the messages in their order, each made when the one before it was taken: a reader that does not read holds up
nobody, and nothing grows for it here. Is not: how they travel (`watching/web/`). Above: `watching/web/streams.py`.
Below: `host_feed.py`, `told.py`, `watching/record/history.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from rlm_kernel_mcp.shielded import made_in_thread
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.live.host_feed import HostFeed
from rlm_kernel_mcp.watching.live.told import Told
from rlm_kernel_mcp.watching.messages.stream import Message, State
from rlm_kernel_mcp.watching.record.history import History

LOOK_S: Final = 1.0
"""Between two looks at the record, where nobody tells that something is new there."""
PAUSE_S: Final = 0.05
"""Between two where somebody does: a session of short steps tells of hundreds a second."""
NEEDS_HOST: Final = "steps come as they are recorded: live output needs the host"
NOT_HERE: Final = "the host that is there does not have it"
NO_HOST: Final = "no host is there"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and after which id whoever comes back goes on; empty: this message changes nothing of that."""

    message: Message
    cursor: str = ""


class SessionStream:
    """One reader's."""

    def __init__(
        self,
        store: Store,
        feed: HostFeed,
        history: History,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._feed, self._history, self._clock = store, feed, history, clock
        self._told = Told(history.has_shown)
        self._state: State | None = None
        self._has_tried = False
        self._looked_s = 0.0

    async def messages(self) -> AsyncGenerator[Sent, None]:
        """All of them, to the last one."""
        try:
            for message in await in_reader(self._history.head):
                yield Sent(message)
            async for sent in self._recorded():  # before a host is asked: that may take a while
                yield sent
            while not self._history.standing.is_over:
                await self._connect()
                async for sent in self._recorded():
                    yield sent
                async for sent in self._live():
                    yield sent
            yield Sent(self._history.end(), self._history.cursor)
        finally:
            self._feed.close()

    async def _recorded(self) -> AsyncIterator[Sent]:
        """What is new in the record, and how the session stands."""
        while True:
            found = await in_reader(partial(self._history.take, self._told.row))
            state = self._state_now()
            if state != self._state:
                self._state = state
                yield Sent(state)
            for message in found:
                yield Sent(message, self._history.cursor if message["type"] in ("events", "event") else "")
            if not self._history.is_behind:
                break
        self._looked_s = self._clock()

    async def _live(self) -> AsyncIterator[Sent]:
        """What the host tells, until it is time to look at the record."""
        pause_s = LOOK_S
        while (left := self._looked_s + pause_s - self._clock()) > 0:
            due = self._told.due_in(self._clock())
            for event in self._told.hear(await self._hear(left if due is None else min(left, due)), self._clock()):
                yield Sent(event)
            if not self._feed.is_connected:
                self._told.forget()
            for output in self._told.take(self._clock()):
                yield Sent(output)
            if self._told.take_news():
                pause_s = PAUSE_S

    async def _hear(self, within_s: float) -> list[dict[str, object]]:
        """What is told within so many seconds."""
        if not self._feed.is_connected:
            await asyncio.sleep(within_s)
            return []
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                return await self._feed.come()
        return []

    async def _connect(self) -> None:
        if not self._feed.is_connected:
            self._told.forget()
            await made_in_thread(self._feed.connect, lambda _: self._feed.close())
            self._has_tried = True

    def _state_now(self) -> State:
        standing = self._history.standing
        live = self._feed.is_connected and self._told.is_here is True
        why = "" if live or standing.is_over else self._why_not_live()
        words = f"{why}; {NEEDS_HOST}" if why else ""
        return {"type": "state", "status": standing.status, "live": live, "words": words, "waits": standing.waits}

    def _why_not_live(self) -> str:
        """Empty where that is not known yet."""
        if self._feed.is_connected:
            return NOT_HERE if self._told.is_here is False else ""
        return (self._feed.refused or NO_HOST) if self._has_tried else ""


async def opened(store: Store, environ: Mapping[str, str], session_id: str, after: int) -> SessionStream:
    """The stream of a session, to whoever was told its events up to an id.

    Raises:
        SessionNotFound: there is none, or its record is damaged.
    """
    history = await in_reader(lambda: History(store, session_id, after))
    return SessionStream(store, HostFeed(environ, session_id), history)
