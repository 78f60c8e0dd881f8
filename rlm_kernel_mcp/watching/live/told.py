"""What a host tells of a session, as messages of the live page.

Is: which step runs by what was told, and its output; and that the record has something new. Is not: the connection
(`host_feed.py`), nor the record. It waits for nothing. Above: `session_stream.py`. Below: `output.py`,
`watching/record/history.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.fields import count_of
from rlm_kernel_mcp.session.watching.events import STREAMS
from rlm_kernel_mcp.watching.live.output import JoinedOutput
from rlm_kernel_mcp.watching.messages.events import HEAD_CHARS
from rlm_kernel_mcp.watching.messages.stream import Begin, Message
from rlm_kernel_mcp.watching.record.history import moment_of

QUIET: Final = frozenset({"watching", "begin", "output"})
"""Events that say nothing of the record."""


ID_DIGITS: Final = 19
"""Of a row's id, a number that SQLite has."""


class Told:
    """What was told of one session by the host that is there."""

    def __init__(self, has_shown: Callable[[int], bool]) -> None:
        """`has_shown`: whether a step was told, by its row, as one that is over."""
        self._has_shown = has_shown
        self.forget()

    def forget(self) -> None:
        """The host has gone, or another one is there."""
        self.is_here: bool | None = None
        """Whether it has the session; None: it has not said so."""
        self.row: int | None = None
        """Of the step whose output it tells."""
        self._output: JoinedOutput | None = None
        self.has_news = False

    def hear(self, events: list[dict[str, Any]], now_s: float) -> Iterator[Message]:
        """What is to be sent of what was told; `take_news` says whether it is time to look at the record."""
        for event in events:
            kind = event.get("type")
            is_here = bool(event.get("here", True))  # whoever tells of a session has it
            self.has_news |= is_here is not self.is_here
            self.is_here = is_here
            if kind == "begin":
                yield from self._begin(event)
            elif kind == "output":
                self._add(event)
            elif kind == "dropped":  # perhaps the begin of a step, or its end: the record has both
                self.row, self._output, self.has_news = None, None, True
            elif kind not in QUIET:
                yield from self._rest(event, now_s)
                self.has_news = True

    def due_in(self, now_s: float) -> float | None:
        """In how many seconds output is to be sent; None: none waits."""
        return None if self._output is None else self._output.due_in(now_s)

    def take(self, now_s: float) -> Iterator[Message]:
        """The output that is to be sent now."""
        if self._output is not None:
            yield from self._output.take(now_s)

    def take_news(self) -> bool:
        """Whether the record has something new, or the session has another place, since this was asked last."""
        has_news, self.has_news = self.has_news, False
        return has_news

    def _begin(self, event: Mapping[str, Any]) -> Iterator[Message]:
        """A step runs; or did, as long as what tells of it was on its way."""
        row, step = _row_of(event), count_of(event.get("step"))
        if row is None or step is None or self._has_shown(row):
            self.row = self._output = None
            return
        self.row, self._output = row, JoinedOutput(step)
        begin: Begin = {
            "type": "begin",
            "id": str(row),
            "step": step,
            "source": "mcp",
            "code": str(event.get("code") or "")[:HEAD_CHARS],
            "code_chars": count_of(event.get("code_chars")) or 0,
            "ts": moment_of(row),
            "elapsed_ms": count_of(event.get("elapsed_ms")) or 0,
            "so_far": "",
        }
        yield begin

    def _add(self, event: Mapping[str, Any]) -> None:
        stream, at, text = event.get("stream"), count_of(event.get("at")), event.get("text")
        is_ours = self._output is not None and event.get("step") == self._output.step
        if is_ours and stream in STREAMS and at is not None and isinstance(text, str):
            assert self._output is not None
            self._output.add(stream, at, text)

    def _rest(self, event: Mapping[str, Any], now_s: float) -> Iterator[Message]:
        """Where the step is over all of its output is sent before it."""
        if self._output is not None and event.get("type") == "step" and _row_of(event) == self.row:
            yield from self._output.take(now_s, is_over=True)
            self.row = self._output = None


def _row_of(event: Mapping[str, Any]) -> int | None:
    """The row that an event is about; it is too large for a number of JSON."""
    text = event.get("id")
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= ID_DIGITS else None
