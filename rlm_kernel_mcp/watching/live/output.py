"""The output of a running step on its way to a page: joined for a moment, and no more of it than a page can show.

Is: bounded texts and a clock that is given. Is not: where it comes from (`told.py`), nor a wait. Above: `told.py`.
Below: `watching/messages/stream.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.session.watching.events import STREAMS, Stream
from rlm_kernel_mcp.watching.messages.stream import JOINED_S, OUTPUT_BYTES, OUTPUT_BYTES_A_SECOND, Output
from rlm_kernel_mcp.watching.record.texts import belongs

HELD_CHARS: Final = OUTPUT_BYTES
"""Of a stream that waits: the newest. In JSON a character has a byte at least."""


@dataclass(slots=True)
class _Held:
    """What waits of a stream. `at`: the characters of it that came by now; `skipped`: those that will not be sent."""

    text: str = ""
    at: int = 0
    skipped: int = 0


class JoinedOutput:
    """One step's."""

    def __init__(self, step: int) -> None:
        self.step = step
        self._held: dict[Stream, _Held] = {stream: _Held() for stream in STREAMS}
        self._room = float(OUTPUT_BYTES_A_SECOND)
        self._room_at = self._next_at = 0.0

    def add(self, stream: Stream, at: int, text: str) -> None:
        """Text that begins with the character `at` of a stream. What lies before it and never came is skipped."""
        held = self._held[stream]
        new = text[max(held.at - at, 0) :]
        held.skipped += max(at - held.at, 0)
        held.at = max(held.at, at + len(text))
        held.text += new
        self._drop(held, len(held.text) - HELD_CHARS)

    def due_in(self, now_s: float) -> float | None:
        """In how many seconds something is to be sent; None: nothing waits."""
        if not any(held.text or held.skipped for held in self._held.values()):
            return None
        missing = OUTPUT_BYTES - self._room_by(now_s)
        return max(self._next_at - now_s, missing / OUTPUT_BYTES_A_SECOND, 0.0)

    def take(self, now_s: float, *, is_over: bool = False) -> Iterator[Output]:
        """What is to be sent now. `is_over`: nothing comes any more, so it is not waited for more."""
        due = self.due_in(now_s)
        if due is None or (due > 0 and not is_over):
            return
        self._next_at = now_s + JOINED_S
        for stream, held in self._held.items():
            if not held.text and not held.skipped:
                continue
            self._drop(held, len(held.text) - len(_fitting(held.text)))
            found: Output = {"type": "output", "step": self.step, "field": stream, "text": held.text}
            if held.skipped:
                found["skipped"] = held.skipped
            self._room = self._room_by(now_s) - len(json.dumps(held.text))
            self._room_at = now_s
            held.text, held.skipped = "", 0
            yield found

    def _drop(self, held: _Held, chars: int) -> None:
        """Give up the oldest characters that wait, and those that belong to them."""
        if chars > 0:
            place = chars
            while place < len(held.text) and belongs(held.text[place], held.text[place - 1]):
                place += 1
            held.text, held.skipped = held.text[place:], held.skipped + place

    def _room_by(self, now_s: float) -> float:
        grown = self._room + (now_s - self._room_at) * OUTPUT_BYTES_A_SECOND
        return min(grown, float(OUTPUT_BYTES_A_SECOND))


def _fitting(text: str) -> str:
    """The end of a text that has room in a message, about the longest one."""
    while (size := len(json.dumps(text))) > OUTPUT_BYTES:
        text = text[len(text) - min(len(text) * OUTPUT_BYTES // size, len(text) - 1) :]
    return text
