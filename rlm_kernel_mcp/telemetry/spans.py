"""Spans of sessions, steps, restores, sub-calls and calls of tools: the one place that all others tell of them.

Is: what a registry has, whether its client's user wants spans or not. Where not, which is the default, each of these
calls looks at one name and does nothing more, and nothing of OpenTelemetry is imported for it. Is not: a span
(`recording.py`), or where it goes (`sdk.py`); both are imported when a registry is opened that wants them. Above:
`session/registry.py`, `session/reopening.py`. Below: `recording.py`, `sdk.py`, `variables/telemetry.py`.

Nothing here raises, waits or changes what a session does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakValueDictionary

from rlm_kernel_mcp.shielded import made_in_thread
from rlm_kernel_mcp.variables.telemetry import NO_TELEMETRY, TelemetrySettings

if TYPE_CHECKING:
    from rlm_kernel_mcp.telemetry.parts import Asked, Asker
    from rlm_kernel_mcp.telemetry.recording import Recording, SessionSpans

log = logging.getLogger(__name__)

FLUSH_S: Final = 1.0
"""How long the end of a registry waits for the spans that are left: Codex kills a server 2 s after it has ended it."""
Told = Callable[[int, int], None]
"""Takes how many names a fresh kernel lacks, and how many it has back."""


class Request(NamedTuple):
    """A call of a tool, as it came."""

    meta: Mapping[str, Any] | None = None
    """Its `_meta`, where a client may have put the span that it is part of."""
    number: str = ""
    version: str = ""
    """Its id, and the protocol's version."""


class Spans:
    """Those of one registry."""

    def __init__(self, settings: TelemetrySettings = NO_TELEMETRY) -> None:
        self._settings = settings
        self._recording: Recording | None = None
        # Sessions that are looked at once and not kept have theirs for as long as they are there.
        self._of: WeakValueDictionary[str, SessionSpans] = WeakValueDictionary()

    async def open(self) -> None:
        """Make ready to record them, where they are wanted. What that needs is imported in a thread."""
        if not self._settings.is_on:
            return
        try:
            self._recording = await made_in_thread(self._made, lambda made: made.end())
        except ImportError as error:
            log.warning("no spans are recorded: RLM_OTEL is set, and needs the extra otel (%s)", error)

    def _made(self) -> Recording:
        from rlm_kernel_mcp.telemetry.recording import Recording
        from rlm_kernel_mcp.telemetry.sdk import provider_of

        return Recording(provider_of(self._settings), has_texts=self._settings.has_texts)

    def record_with(self, recording: Recording) -> None:
        """Record them with this, which somebody else has made."""
        self._recording = recording

    def of_session(self, session_id: str, parent_id: str = "") -> SessionSpans | None:
        """Those of a session; None: they are not wanted. `parent_id`: the session whose question it was opened for."""
        if self._recording is None:
            return None
        made = self._of[session_id] = self._recording.of_session(session_id, lambda: self._of.get(parent_id))
        return made

    def left(self, session_id: str) -> None:
        """A session has left this process's memory: whatever of it is open ends."""
        if (one := self._of.pop(session_id, None)) is not None:
            one.end()

    def asked(self, session_id: str, entry: Asked, facts: Asker) -> None:
        """A question of a session's code, or a call of a function, is over."""
        if (one := self._of.get(session_id)) is not None:
            one.asked(entry, facts)

    @contextmanager
    def called(self, tool: str, request: Request) -> Iterator[None]:
        """A call of a tool, from when there is a registry for it to its answer. What it raises passes through."""
        if self._recording is None:
            yield
            return
        with self._recording.called(tool, request.meta, request.number, request.version):
            yield

    async def close(self) -> None:
        """End what is open, and have it sent, as far as that goes within `FLUSH_S`. Safe to call twice."""
        recording, self._recording = self._recording, None
        for session_id in list(self._of):
            self.left(session_id)
        if recording is None:
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            recording.end()
            with contextlib.suppress(RuntimeError):  # the loop has not waited so long
                loop.call_soon_threadsafe(done.set)

        # A thread of its own: those of a pool are waited for at the process's end, and a collector may not answer.
        threading.Thread(target=end, name="end of spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await done.wait()


@contextmanager
def restoring(spans: SessionSpans | None) -> Iterator[Told]:
    """A fresh kernel is made for a session that has lost its own. `spans`: the session's, if they are wanted."""
    if spans is None:
        yield lambda lost, restored: None
    else:
        with spans.restoring() as told:
            yield told
