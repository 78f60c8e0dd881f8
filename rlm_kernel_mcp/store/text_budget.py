"""How much of a step's text the store keeps: whole as long as there is room, else head and tail with an exact note.

Is: pure cutting by bytes. Is not: what a client is shown. Above: `store.py`. Below: `text/safe_text.py` (`share`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from rlm_kernel_mcp.text.safe_text import share

STEP_TEXT_BYTES: Final = 16 << 20
"""Bytes of UTF-8 kept of one event's texts."""

SESSION_TEXT_BYTES: Final = 256 << 20
"""Bytes kept of one session's texts."""

LEAST_TEXT_BYTES: Final = 4_000
"""Bytes kept of each event, even in a session that has used up its room."""

_LEAST_SHARE_BYTES: Final = 100


def fit(texts: Mapping[str, str | None], used_bytes: int) -> tuple[dict[str, str | None], int]:
    """An event's texts cut to the room there is, and their size in bytes. `error` stays an object of JSON.

    `used_bytes`: what the session holds already. Small texts stay whole at the expense of the large ones.
    """
    room = min(STEP_TEXT_BYTES, max(SESSION_TEXT_BYTES - used_bytes, LEAST_TEXT_BYTES))
    sizes = {name: size_of(text) for name, text in texts.items() if text}
    total = sum(sizes.values())
    if total <= room:
        return dict(texts), total
    kept: dict[str, str | None] = dict(texts)
    for name, room_bytes in zip(sizes, share(list(sizes.values()), room), strict=True):
        if sizes[name] > room_bytes:
            cut = cut_error if name == "error" else cut_to_bytes
            kept[name] = cut(texts[name] or "", room_bytes)
    return kept, sum(size_of(text) for text in kept.values() if text)


def cut_to_bytes(text: str, room_bytes: int) -> str:
    """Head and tail of a text, with a note between them that says exactly how much is left out."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= room_bytes:
        return text
    head = data[: room_bytes // 2]
    tail = data[len(data) - room_bytes // 2 :]
    # A character that the cut goes through is left out: its first byte is not a continuation byte (0b10......).
    while head and data[len(head)] & 0xC0 == 0x80:
        head = head[:-1]
    tail = tail.lstrip(bytes(range(0x80, 0xC0)))
    first, last = head.decode("utf-8", "surrogatepass"), tail.decode("utf-8", "surrogatepass")
    left_out = len(text) - len(first) - len(last)
    note = f"\n[{left_out:,} of {len(text):,} characters were not kept: the store has no more room for this step]\n"
    return first + note + last


def cut_error(error: str, room_bytes: int) -> str:
    """An error's JSON object with its texts cut."""
    parts = json.loads(error)
    if not isinstance(parts, dict):
        return "{}"
    each = room_bytes
    while True:
        cut = json.dumps({name: cut_to_bytes(str(value), each) for name, value in parts.items()})
        if len(cut) <= room_bytes or each < _LEAST_SHARE_BYTES:
            return cut
        each //= 2


def size_of(text: str) -> int:
    """A text's size in bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
