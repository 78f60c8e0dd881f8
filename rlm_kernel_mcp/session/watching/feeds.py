"""Who watches which session, and what waits for them to read it.

Is: the watchers of one process, each with a queue of its own that is bounded in events and bytes; whoever publishes
never waits for one. Is not: what is told (`events.py`), by whom (`telling.py`), nor a way out of the process
(`host/kinds/watching.py`). Above: `session/registry.py`, `telling.py`. Below: `events.py`, `live_output.py`.

A watcher holds nothing of a session: not its kernel, nor its place in memory, nor the process. It may watch one that
nobody has in memory, and hears of it once somebody uses it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from rlm_kernel_mcp.errors import RequestRefused
from rlm_kernel_mcp.session.watching.events import EVENT_BYTES_MAX, Event, encoded
from rlm_kernel_mcp.session.watching.live_output import LiveOutput, begin_of

if TYPE_CHECKING:  # a host has watchers before it has a kernel, and Jupyter with it
    from rlm_kernel_mcp.session.steps.run import RunningStep

WATCHERS_MAX: Final = 64
"""Of all sessions of a process."""
WATCHED_BY_MANY: Final = "close a tab of `watch` or end a `trace --follow`; whoever waits asks again every 10 s"
QUEUE_EVENTS_MAX: Final = 1_000
QUEUE_BYTES_MAX: Final = 1 << 20
"""What is kept for one that does not read."""


class Watchable(Protocol):
    """What tells of a session that is in memory (`telling.py`), as far as it is known here."""

    @property
    def running_step(self) -> RunningStep | None:
        """The step that runs, if one does."""


Find = Callable[[str], Watchable | None]
"""A session by its id, where it is in memory."""


class Watcher:
    """One who watches a session."""

    def __init__(self) -> None:
        self._queue: deque[bytes] = deque()
        self._bytes = self._dropped = 0
        self._last: bytes | None = None
        """The final answer's event, where it had no room."""
        self._came = asyncio.Event()

    def put(self, event: bytes, *, is_final: bool = False) -> None:
        """Keep an event until it is read. Once one had no room none is kept until all that waits has been read.

        One that is larger than `EVENT_BYTES_MAX` has none: it would not pass the socket. That of the final answer is
        kept all the same, behind the gap: a watcher knows by it that nothing more comes.
        """
        too_large = len(event) > EVENT_BYTES_MAX
        full = len(self._queue) >= QUEUE_EVENTS_MAX or self._bytes + len(event) > QUEUE_BYTES_MAX
        if self._dropped or self._last or full or too_large:
            if is_final and not too_large:
                self._last = event
            else:
                self._dropped += 1
        else:
            self._queue.append(event)
            self._bytes += len(event)
        self._came.set()

    async def next(self) -> bytes:
        """The next event, as JSON. Where some were dropped that is said in their place."""
        while not (self._queue or self._dropped or self._last):
            self._came.clear()
            await self._came.wait()
        if self._queue:
            event = self._queue.popleft()
            self._bytes -= len(event)
            return event
        if not self._dropped and self._last:
            event, self._last = self._last, None
            return event
        count, self._dropped = self._dropped, 0
        return encoded({"type": "dropped", "events": count})


class Feed:
    """What is told of one session that has watchers."""

    def __init__(self) -> None:
        self.watchers: list[Watcher] = []
        self._output: LiveOutput | None = None

    def publish(self, event: Event) -> None:
        """Tell each watcher, and wait for none."""
        data = encoded(event)
        for watcher in self.watchers:
            watcher.put(data, is_final=event["type"] == "final")

    def follow(self, step: RunningStep, *, from_now: bool = False) -> None:
        """Tell the output of a step as it comes, until the step has ended or nobody watches."""
        if self._output is None or self._output.step is not step:
            self._output = LiveOutput(step, self.publish, lambda: bool(self.watchers))
            self._output.start(from_now=from_now)

    def catch_up(self, step: RunningStep, *, is_over: bool = False) -> None:
        """Tell what a step has printed by now. `is_over`: it prints no more, and nothing of it is held here."""
        if self._output is not None and self._output.step is step:
            self._output.look()
            if is_over:
                self._output.stop()
                self._output = None

    def tell_newcomer(self, watcher: Watcher, step: RunningStep) -> None:
        """Tell one that came late, after `catch_up`, of the step that runs, and the end of its output so far."""
        watcher.put(encoded(begin_of(step)))
        LiveOutput(step, lambda event: watcher.put(encoded(event)), lambda: True).look()
        self.follow(step, from_now=True)


class Feeds:
    """The watchers of one process. Belongs to the event loop."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._finds: list[Find] = []
        self.count = 0

    def include(self, find: Find) -> None:
        """By what a registry of this process finds its sessions."""
        self._finds.append(find)

    def of(self, session_id: str) -> Feed | None:
        """Where to tell what happens in a session; None while nobody watches it, which costs nothing more."""
        return self._feeds.get(session_id)

    @contextmanager
    def watch(self, session_id: str) -> Iterator[Watcher]:
        """One more watcher of a session, whether anybody has that or not.

        Raises:
            RequestRefused: there are too many.
        """
        self.require_room()
        session = next(filter(None, (find(session_id) for find in self._finds)), None)
        step = None if session is None else session.running_step
        watcher, feed = Watcher(), self._feeds.setdefault(session_id, Feed())
        if step is not None:
            feed.catch_up(step)  # the others alone
        feed.watchers.append(watcher)
        self.count += 1
        try:
            watcher.put(encoded({"type": "watching", "session": session_id, "here": session is not None}))
            if step is not None:
                feed.tell_newcomer(watcher, step)
            yield watcher
        finally:
            self.count -= 1
            feed.watchers.remove(watcher)
            if not feed.watchers:
                del self._feeds[session_id]

    def require_room(self) -> None:
        """Raises: RequestRefused: there are too many."""
        if self.count >= WATCHERS_MAX:
            raise RequestRefused(
                f"{self.count} watchers are here, and there may be {WATCHERS_MAX}.", "End one of them, and try again."
            )
