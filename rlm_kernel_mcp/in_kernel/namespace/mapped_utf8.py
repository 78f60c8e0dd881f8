"""The UTF-8 of a text that is mapped from a file, read from there too: a search needs no copy of it.

Is: bytes that cannot be written to, and the check that they are that text's. Is not: the text (`mapped_text.py`), nor a
wall or a courtesy. Above: `in_kernel/ipython/control.py`. Below: `walls/window.py`,
`in_kernel/explore/matching/windows.py`.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.in_kernel.explore.matching.windows import bytes_at
from rlm_kernel_mcp.in_kernel.walls import window

_EDGE_CHARS: Final = 64
"""Compared at either end."""


def map_utf8(descriptor: int, offset: int, size: int, text: str) -> memoryview | None:
    """The UTF-8 of a text, from the same file; None where there is no room for it, or it is that of another text.

    Nothing in the window is ever given back, so half of it stays free for the texts that come later.

    Args:
        descriptor: as of `map_text`.
        offset: where it begins in the file, a multiple of a page.
        size: in bytes, above 0.
        text: surrogates are characters in its UTF-8.
    """
    free_bytes, all_bytes = window.room()
    if 2 * (free_bytes - size) < all_bytes:
        return None
    try:
        raw = bytes_at(window.map_file(descriptor, size, offset), size)
    except OSError:
        return None
    head, tail = (part.encode("utf-8", "surrogatepass") for part in (text[:_EDGE_CHARS], text[-_EDGE_CHARS:]))
    return raw if raw[: len(head)] == head and raw[-len(tail) :] == tail else None
