"""Decodes UTF-8 that may hold lone surrogates, without holding up everybody else.

Is: the decoder of what a kernel says and the store keeps. Is not: a judgement of lone surrogates (`characters.py`).
Above: `session/kernels/variables.py`, `store/database/rows.py`, `store/reading.py`, `doors/wire/messages.py`. Below:
nothing.
"""

from __future__ import annotations

from typing import Final

CALL_BYTES: Final = 1 << 16
"""For one call in C, which keeps the interpreter: a lone surrogate takes 200 ns, and a text of them some 5 ms."""


def decoded(data: bytes) -> str:
    """The text of bytes that `"surrogatepass"` made. Call it in a thread where they are many.

    Raises:
        UnicodeDecodeError: no encoder makes such bytes.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(pieces_of(data))


def pieces_of(data: bytes | bytearray) -> list[str]:
    """The same in pieces, each of which one short call has made, whatever the bytes are. Raises: as `decoded`."""
    pieces = []
    start = 0
    while start < len(data):
        end = start + CALL_BYTES
        while end - start > CALL_BYTES - 3 and data[end : end + 1] and data[end] & 0xC0 == 0x80:
            end -= 1  # a character's bytes belong together
        pieces.append(data[start:end].decode("utf-8", "surrogatepass"))
        start = end
    return pieces
