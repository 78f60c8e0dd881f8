"""A JPEG picture from a kernel, looked through segment by segment and written anew without what is not the picture.

Is: the order and lengths of segments, and the size that the frame declares. Sans-I/O. Is not: a decoder. What goes on
has no comment, no application's data (a thumbnail, a place, a profile, and also whether it is to be turned) and nothing
behind the end. Above: `displays.py`. Below: the standard library. Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct
from typing import Final

START: Final = b"\xff\xd8"
END: Final = b"\xff\xd9"
SIDE_MAX: Final = 16_384
PIXELS_MAX: Final = 32_000_000
"""Of a picture: a decoder takes some bytes for each, however few the file has."""
SEGMENTS_MAX: Final = 2_000
SCANS_MAX: Final = 100
"""Each goes over all pixels once more: a decoder of many would work for minutes."""

_FRAMES: Final = (0xC0, 0xC1, 0xC2)
"""Sequential and progressive, which every decoder has."""
_TABLES: Final = (0xC4, 0xDB, 0xDD)
_SCAN: Final = 0xDA
_JFIF, _ADOBE = 0xE0, 0xEE
_JFIF_BYTES, _ADOBE_BYTES = 16, 14
"""With the length itself. The former may have a thumbnail behind these, and the latter says which colours these are."""
_LEFT_OUT: Final = (*range(0xE0, 0xF0), 0xFE)
_NEXT: Final = re.compile(rb"\xff(?=[^\x00\xd0-\xd7\xff])")
"""Where a scan's data end: at a marker that is neither an escaped byte nor one within them."""
_SIZE: Final = Struct(">H")
_FRAME: Final = Struct(">HBHHB")


@dataclass(slots=True)
class _Seen:
    """What has come of a picture by now."""

    has_frame: bool = False
    scans: int = 0


def clean_jpeg(data: bytes) -> bytes | None:
    """The picture alone; None: it is none, or declares more than there may be."""
    if not data.startswith(START):
        return None
    parts, seen, at = [START], _Seen(), len(START)
    for _ in range(SEGMENTS_MAX):
        if data[at : at + 2] == END:
            return b"".join([*parts, END]) if seen.scans else None
        end = _end_of(data, at)
        goes_on = None if end is None else _goes_on(seen, data[at + 1], data[at + 2 : end])
        if end is not None and data[at + 1] == _SCAN:
            following = _NEXT.search(data, end)
            end = None if following is None else following.start()
        if end is None or goes_on is None:
            return None
        if goes_on:
            parts.append(data[at:end])
        at = end
    return None


def _end_of(data: bytes, at: int) -> int | None:
    """Where a segment ends, without a scan's data; None: there is no whole one."""
    if at + 4 > len(data) or data[at] != 0xFF:
        return None
    (size,) = _SIZE.unpack_from(data, at + 2)
    end: int = at + 2 + size
    return end if size >= _SIZE.size and end <= len(data) else None


def _goes_on(seen: _Seen, kind: int, body: bytes) -> bool | None:
    """Whether a segment is of the picture; None: it may not stand there, and there is no picture."""
    if kind in _FRAMES:
        is_right = not seen.has_frame and _is_frame(body)
        seen.has_frame = True
        return True if is_right else None
    if kind == _SCAN:
        seen.scans += 1
        return True if seen.has_frame and seen.scans <= SCANS_MAX else None
    if kind in _TABLES:
        return True
    if kind in _LEFT_OUT:
        return (kind, len(body)) in ((_JFIF, _JFIF_BYTES), (_ADOBE, _ADOBE_BYTES))
    return None


def _is_frame(body: bytes) -> bool:
    if len(body) < _FRAME.size:
        return False
    size, bits, height, width, components = _FRAME.unpack_from(body)
    if size != _FRAME.size + 3 * components or bits != 8 or components not in (1, 3, 4):
        return False
    is_right: bool = 0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX and width * height <= PIXELS_MAX
    return is_right
