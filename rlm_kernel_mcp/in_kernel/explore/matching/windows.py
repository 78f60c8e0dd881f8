"""A text in windows, small enough that an interrupt does not wait long for one, as bytes for the searchers.

Is: ASCII text in place, without a copy, even in a mapped file; the UTF-8 of any other text, kept or made window by
window; and the way back from bytes to characters. Is not: a search.
Above: the modules beside it. Below: `utf8.py`, the standard library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.explore.matching.utf8 import Utf8, chars_in, encoded

WINDOW_CHARS: Final = 1 << 19
ENCODED_CHARS: Final = 1 << 18
"""Window of a text that has to be encoded: a larger one would not fit the processor's cache, and take twice as long."""
KEPT_CHARS: Final = 64 << 20
"""Largest text in memory whose UTF-8 is kept after the first search (decision 0095)."""
LINE_CHARS: Final = 16 << 20
"""How far to look for an end of a line in one call, for the sake of interrupts and of other threads."""

HasRoom = Callable[[int], bool]
"""Whether this many more bytes of memory are available."""

# For an ASCII str this is a pointer to its own characters; for any other it would cache a copy of all of it.
_as_utf8 = ctypes.pythonapi.PyUnicode_AsUTF8AndSize
_as_utf8.restype, _as_utf8.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_void_p]


class Spans:
    """Matches, in order: `starts` and `ends`, in characters of the whole text or in bytes of a window.

    Both count from `base`: a number that is added to each of a million hits costs as much as reading them.
    """

    __slots__ = ("base", "ends", "starts")

    def __init__(self, starts: list[int], ends: list[int], base: int = 0) -> None:
        self.starts, self.ends, self.base = starts, ends, base

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        base = self.base
        return ((base + start, base + end) for start, end in zip(self.starts, self.ends, strict=True))

    def __getitem__(self, part: slice) -> Spans:
        """Some of them."""
        return Spans(self.starts[part], self.ends[part], self.base)

    @property
    def end(self) -> int:
        """Where the last one ends."""
        return self.base + self.ends[-1]

    def drop_from(self, start: int) -> None:
        """Remove those that begin at `start` or later."""
        starts = self.starts
        start -= self.base
        while starts and starts[-1] >= start:
            starts.pop()
            self.ends.pop()


def bytes_at(address: int, size: int, owner: object = None) -> memoryview:
    """The bytes at an address. They keep `owner`, whose they are; without one they are there for ever."""
    held: Any = (ctypes.c_char * size).from_address(address)
    held.owner = owner
    return memoryview(held).cast("B").toreadonly()


def ascii_view(text: str) -> memoryview | None:
    """The bytes of an ASCII text, which they keep: a search in a thread may outlive it; None for any other."""
    if not text.isascii():
        return None
    return bytes_at(_as_utf8(text, None), len(text), text) if text else memoryview(b"")


class Subject:
    """A text that is searched.

    Args:
        text: the text.
        utf8: its UTF-8 (with surrogates encoded), if it exists already.
        has_room: whether there is memory for what would be kept.
    """

    __slots__ = ("_has_room", "_utf8", "text", "view")

    def __init__(self, text: str, utf8: memoryview | None = None, has_room: HasRoom = lambda size: True) -> None:
        self.text, self._has_room = text, has_room
        self.view = ascii_view(text)
        self._utf8 = None if utf8 is None or self.view is not None else Utf8(text, utf8)

    @property
    def is_ascii(self) -> bool:
        """Whether each of its characters is a byte."""
        return self.view is not None

    @property
    def has_bytes(self) -> bool:
        """Whether its bytes exist without a copy, or are kept from now on."""
        if self.view is not None or self._utf8 is not None:
            return True
        text, step = self.text, ENCODED_CHARS
        if len(text) > KEPT_CHARS or not self._has_room(8 * len(text)):
            return False
        parts = bytearray()  # piece by piece, so that other threads get the interpreter lock in between
        for start in range(0, len(text), step):
            parts += encoded(text[start : start + step])
        self._utf8 = Utf8(text, memoryview(parts).toreadonly())
        return True

    @property
    def window_chars(self) -> int:
        """Characters of a window."""
        return WINDOW_CHARS if self.has_bytes else ENCODED_CHARS

    def window(self, start: int, end: int) -> Window:
        """The bytes of a part, given in characters."""
        if self.view is not None:
            return Window(self.view[start:end], start)
        if self.has_bytes:
            assert self._utf8 is not None
            first, last = self._utf8.byte(start), self._utf8.byte(end)
            kept = self._utf8.raw[first:last]
            return Window(kept, start) if last - first == end - start else _InUtf8(kept, start, self._utf8, first)
        text, step = self.text, ENCODED_CHARS
        # In steps, so that the interpreter lock is free in between and an interrupt is noticed.
        parts = [encoded(text[at : min(end, at + step)]) for at in range(start, end, step)]
        raw = parts[0] if len(parts) == 1 else b"".join(parts)
        return Window(raw, start) if len(raw) == end - start else _Encoded(raw, start)


class Window:
    """The bytes of a part of a text, each of them a character."""

    __slots__ = ("_data", "_start", "raw")

    is_plain = True
    """Whether the byte behind so many of them is the character behind as many: `chars` adds one number to each."""

    def __init__(self, raw: bytes | memoryview, start: int) -> None:
        self.raw, self._start = raw, start
        self._data = raw if isinstance(raw, bytes) else None

    @property
    def data(self) -> bytes:
        """The same bytes as a copy: a memoryview has no `find`."""
        if self._data is None:
            self._data = bytes(self.raw)
        return self._data

    def chars(self, spans: Spans, *, is_ascii: bool = False) -> Spans:
        """Spans in its bytes as spans in characters of the text. They must be in order, from call to call too.

        `is_ascii`: whether each of the spans' own bytes is a character.
        """
        del is_ascii
        return Spans(spans.starts, spans.ends, self._start)


class _Encoded(Window):
    """Bytes that were encoded for this window alone: characters are counted from match to match."""

    __slots__ = ("_byte", "_char")

    is_plain = False

    def __init__(self, raw: bytes, start: int) -> None:
        super().__init__(raw, start)
        self._byte, self._char = 0, 0

    def chars(self, spans: Spans, *, is_ascii: bool = False) -> Spans:
        del is_ascii
        starts, ends = [], []
        for first, last in spans:
            starts.append(self._at(first))
            ends.append(self._at(last))
        return Spans(starts, ends, self._start)

    def _at(self, byte: int) -> int:
        self._char += chars_in(self.data[self._byte : byte])
        self._byte = byte
        return self._char


class _InUtf8(Window):
    """A part of the text's UTF-8, with known numbers of characters before each block."""

    __slots__ = ("_first", "_utf8")

    is_plain = False

    def __init__(self, raw: memoryview, start: int, utf8: Utf8, first: int) -> None:
        super().__init__(raw, start)
        self._utf8, self._first = utf8, first

    def chars(self, spans: Spans, *, is_ascii: bool = False) -> Spans:
        if not spans:
            return spans
        found = self._utf8.chars(spans.starts, spans.ends, self._first, self._start, is_ascii=is_ascii)
        return Spans(*found, self._start)


def line_end(text: str, start: int, end: int) -> int:
    """The end of the line with `start`, behind its line feed; `end` if there is none before that."""
    while start < end:
        stop = min(end, start + LINE_CHARS)
        found = text.find("\n", start, stop)
        if found >= 0:
            return found + 1
        start = stop
    return end


def line_start(text: str, start: int, place: int) -> int:
    """The beginning of the line with `place`, behind the line feed before it; `start` if there is none from there."""
    while start < place:
        first = max(start, place - LINE_CHARS)
        found = text.rfind("\n", first, place)
        if found >= 0:
            return found + 1
        place = first
    return start


def line_windows(text: str, start: int, end: int, chars: int) -> Iterator[tuple[int, int]]:
    """A part of a text in windows of whole lines, of about `chars` characters each."""
    while end - start > chars:
        cut = text.rfind("\n", start, start + chars) + 1 or line_end(text, start + chars, end)
        yield start, cut
        start = cut
    if start < end:
        yield start, end
