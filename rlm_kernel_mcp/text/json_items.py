"""Whether a JSON text is made of very many small items, told without reading it as JSON. Sans-I/O.

Is: a count of commas and opening brackets outside of strings. Is not: a parser, nor a bound: each reader has its own.
Above: `kernel/untrusted/`, `session/answering/backends/replies.py`, `doors/wire/messages.py`. Below: nothing.

Read, a text can take thirty times its size in memory, and a second for each megabyte, in which no other thread runs: a
reader in a thread of its own holds up everybody too. What is honest and large is long texts and pictures.
"""

from __future__ import annotations


def is_crowded(text: bytes | bytearray, most: int) -> bool:
    """Whether a JSON text has more items than so many."""
    # One with fewer bytes cannot hold more.
    if len(text) <= most or _marks(text) <= most:
        return False
    # Without escapes each quote begins or ends a string; one that does not end goes to the end.
    parts = text.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"', 4 * most + 4)
    if len(parts) > 4 * most + 4:  # of an object each item can have two strings
        return True
    return _marks(b"".join(parts[::2])) > most


def _marks(text: bytes | bytearray) -> int:
    """As many as there may be items at most."""
    return sum(map(text.count, (b",", b"[", b"{")))
