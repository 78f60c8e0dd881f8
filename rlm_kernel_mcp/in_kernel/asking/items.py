"""A question on its way to the host: as a row of a frame, or why it is none, and a long text beside it.

Is: what a question may have, in characters and bytes. Is not: a frame, or the socket (`channel.py`). Above:
`channel.py`, `calls.py`. Below: `errors.py`, `questions_wire.py`.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Final

from rlm_kernel_mcp.in_kernel.asking.errors import SubcallError
from rlm_kernel_mcp.questions_wire import CONTEXT_CHARS_MAX, FRAME_BYTES_MAX, ITEM_CHARS_MAX

PIECE_CHARS: Final = 1 << 16
"""Of a long text, copied at a time: all of it could be more than the session has memory for."""
HEAD_BYTES: Final = 128 << 10
"""Allowance for what a frame has beside its questions: a schema above all."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question to be sent. `repair`: what was wrong with the answer before."""

    prompt: str
    text: str | None = None
    repair: str | None = None
    comes: bool = False
    """Whether its text is too long for a frame, and goes to the host when that asks for it."""


class TextPipe(io.FileIO):
    """Where a long text goes, once. It is closed with whoever is to write, if that never comes to it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w")

    def __del__(self) -> None:
        self.close()  # before Python warns that nobody has: the answer may come first, and then nobody is to


def write_text(text: str, pipe: io.FileIO) -> None:
    """All of a text, as the methods of `str` have it: those of a subclass are the session's own code."""
    with pipe, contextlib.suppress(BrokenPipeError):  # the host does not want it any more, and says why
        for start in range(0, str.__len__(text), PIECE_CHARS):
            piece = str.__getitem__(text, slice(start, start + PIECE_CHARS))
            view = memoryview(piece.encode("utf-8", "surrogatepass"))
            while view:
                view = view[pipe.write(view) :]


def row_of(item: Item) -> bytes | SubcallError:
    """What follows the id; or why it cannot be sent."""
    coming = str.__len__(item.text) if item.comes and item.text is not None else 0
    chars, room = len(item.prompt) + (0 if coming else len(item.text or "")), FRAME_BYTES_MAX - HEAD_BYTES
    for count, most in ((coming, CONTEXT_CHARS_MAX), (chars, ITEM_CHARS_MAX)):
        if count > most:
            return _too_large(f"{count:,} characters", most)
    if coming:
        said = f"{encode_basestring(item.prompt)},null,null,{coming}"
    else:
        parts = [item.prompt, item.text] if item.repair is None else [item.prompt, item.text, item.repair]
        said = ",".join("null" if part is None else encode_basestring(part) for part in parts)
    row = f"{said}]".encode(errors="replace")
    return row if len(row) <= room else _too_large(f"{len(row):,} bytes as JSON", room)


def _too_large(size: str, most: int) -> SubcallError:
    return SubcallError("too_large", f"The question has {size}, and may have {most:,}; cut the text into pieces.")
