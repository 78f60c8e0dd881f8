"""Whether a JSON text is made of very many small items, told without reading it as JSON. Sans-I/O.

Is: a count of commas and opening brackets outside of strings. Is not: a parser, nor a bound: each reader has its own.
Above: `kernel/untrusted/`, `session/answering/backends/replies.py`, `doors/wire/messages.py`,
`doors/link.py`, `server/transport/lines.py`. Below: nothing.

Read, a text can take thirty times its size in memory, and a second for each megabyte, in which no other thread runs: a
reader in a thread of its own holds up everybody too. What is honest and large is long texts and pictures.
"""

from __future__ import annotations

from typing import Final

WINDOW_BYTES: Final = 1 << 18
"""That are looked at in one piece: others have their turn between, and no more than that is copied."""


def is_crowded(text: bytes | bytearray, most: int) -> bool:
    """Whether a JSON text has more items than so many."""
    if len(text) <= most or not _may_be_crowded(text, most):
        return False
    count, in_string, rest = 0, 0, b""
    for at in range(0, len(text), WINDOW_BYTES):
        window, rest = _without_escapes(rest + text[at : at + WINDOW_BYTES])
        parts = window.split(b'"')  # each quote begins or ends a string; one that does not end goes to the end
        count += _marks(b"".join(parts[in_string::2]))
        if count > most:
            return True
        in_string ^= (len(parts) - 1) & 1
    return False


def _may_be_crowded(text: bytes | bytearray, most: int) -> bool:
    """The same, where what stands in strings counts too."""
    count = 0
    for at in range(0, len(text), WINDOW_BYTES):
        count += _marks(text[at : at + WINDOW_BYTES])
        if count > most:
            return True
    return False


def _without_escapes(window: bytes) -> tuple[bytes, bytes]:
    """A part of a text without backslashes and what they escape, and what belongs to the part behind it."""
    if b"\\" not in window:
        return window, b""
    is_half = (len(window) - len(window.rstrip(b"\\"))) % 2
    whole, rest = (window[:-1], window[-1:]) if is_half else (window, b"")
    return whole.replace(rb"\\", b"").replace(rb"\"", b""), rest


def _marks(window: bytes | bytearray) -> int:
    """As many as there may be items at most: one look at each byte, where three counts would be three."""
    return len(window) - len(window.translate(None, b",[{"))
