"""What a log is made of: groups of entries, as bytes and back, and where a segment ends that was cut off.

Is: the format, with a checksum on each part; what is a torn end and what is damage. Is not: files
(`places/medium.py`), or which frame of a key is the newest (`index.py`). Above: `log.py`, `scanning.py`. Below:
`protocol.py`.

A group is what one sync makes durable: a head, a directory (JSON) that names each frame with its length and checksum,
and their bodies in that order. The head begins with a mark that is made of the log's name, which no kernel knows: a
body cannot pass for a group. The first group of a segment says up to which byte the segments before it count; so only
the end of the last one may be torn.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.cluster.shared.protocol import BODY_BYTES_MAX, KEY_CHARS_MAX, KINDS, Frame
from rlm_kernel_mcp.errors import StoreDamaged

_HEAD: Final = struct.Struct("<8sQIIQ")
"""Mark, number of the group, bytes and checksum of the directory, bytes of the bodies; its own checksum follows."""
_CHECKSUM: Final = struct.Struct("<I")
HEAD_BYTES: Final = _HEAD.size + _CHECKSUM.size
DIRECTORY_BYTES_MAX: Final = 64 << 20
"""So much is read of one; what is written has less, by `cost` and `checked`."""
ROW_BYTES: Final = 100
"""Of a frame in a directory, without its key."""

Read = Callable[[int, int], bytes]
"""(offset, size) of a segment to its bytes; fewer at its end."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A frame, and its place in the order in which its session's were written."""

    frame: Frame
    order: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What one append adds to the log of a session's epoch. `whole`: this epoch has all of the older ones with it."""

    session_id: str
    epoch: int
    frames: tuple[Placed, ...]
    whole: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a body lies. `size` is -1 for a frame that removes its key."""

    kind: int
    key: str
    order: int
    segment: int
    offset: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class Written:
    """An entry as a directory names it."""

    session_id: str
    epoch: int
    spots: tuple[Spot, ...]
    whole: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Group:
    number: int
    segment: int
    begin: int
    end: int
    ends: dict[int, int]
    """Up to which byte earlier segments count."""
    entries: tuple[Written, ...]


def mark_of(log: str) -> bytes:
    """What each group of a log begins with."""
    return hashlib.sha256(f"log {log}".encode()).digest()[:8]


def packed(
    mark: bytes, number: int, ends: dict[int, int], entries: Sequence[Entry], segment: int, begin: int
) -> tuple[list[bytes], Group]:
    """The parts of a group in their order, and the same as it will be read from its place."""
    bodies, rows = list[bytes](), []
    for entry in entries:
        of_entry = []
        for frame, order in ((placed.frame, placed.order) for placed in entry.frames):
            size, checksum = (-1, 0) if frame.body is None else (len(frame.body), zlib.crc32(frame.body))
            if frame.body is not None:
                bodies.append(frame.body)
            of_entry.append((frame.kind, frame.key, order, size, checksum))
        rows.append((entry.session_id, entry.epoch, entry.whole, of_entry))
    directory = json.dumps({"ends": [*ends.items()], "entries": rows}, separators=(",", ":")).encode()
    head = _HEAD.pack(mark, number, len(directory), zlib.crc32(directory), sum(map(len, bodies)))
    at = begin + HEAD_BYTES + len(directory)
    written, end = _entries(rows, segment, at)
    return [head, _CHECKSUM.pack(zlib.crc32(head)), directory, *bodies], Group(
        number, segment, begin, end, ends, written
    )


def _entries(rows: Iterable[Any], segment: int, at: int) -> tuple[tuple[Written, ...], int]:
    """The entries that a directory names, whose bodies begin at a byte, and where they end."""
    entries = []
    for session_id, epoch, whole, of_entry in rows:
        spots = []
        for kind, key, order, size, checksum in of_entry:
            spots.append(Spot(kind, key, order, segment, at, size, checksum))
            at += max(size, 0)
        entries.append(Written(session_id, epoch, tuple(spots), whole))
    return tuple(entries), at


def groups_of(mark: bytes, segment: int, size: int, read: Read, counted: int | None) -> Iterator[Group]:
    """The groups of a segment of `size` bytes, of which `counted` count; None: of the last one, which may be torn.

    Bodies are left to whoever reads them, but for those of the last group of a last segment.

    Raises:
        StoreDamaged: bytes that count are not what was written, or are not there.
    """
    end = size if counted is None else counted
    if end > size:
        raise _damaged(segment, size, f"it has {size:,} bytes of {end:,}")
    at, held = 0, None
    while at < end:
        group = _group(mark, segment, at, end, read)
        if group is None:
            if counted is not None or _has_group(mark, at + 1, size, read):
                raise _damaged(segment, at, "what is there is no group")
            break
        if held is not None:
            yield held
        held, at = group, group.end
    if held is not None and (counted is not None or at < end or _is_sound(held, read)):
        yield held
    # Else the bodies of the last group were not all written when its process ended: nobody has acknowledged it.


def first_group(mark: bytes, segment: int, size: int, read: Read) -> Group | None:
    """The one with which a segment begins, which says where earlier ones end; None: there is no whole one."""
    return _group(mark, segment, 0, size, read)


def _group(mark: bytes, segment: int, at: int, end: int, read: Read) -> Group | None:
    """The group that begins at a byte; None: there is no whole one."""
    sizes = _sizes(mark, read(at, HEAD_BYTES))
    if sizes is None:
        return None
    number, directory_bytes, checksum, bodies_bytes = sizes
    bodies = at + HEAD_BYTES + directory_bytes
    if bodies + bodies_bytes > end:
        return None
    directory = read(at + HEAD_BYTES, directory_bytes)
    if len(directory) < directory_bytes or zlib.crc32(directory) != checksum:
        return None
    try:
        said = json.loads(directory)
        ends = {int(segment): int(end) for segment, end in said["ends"]}
        entries, found_end = _entries(said["entries"], segment, bodies)
    except (ValueError, TypeError, KeyError) as error:  # its checksum is right: another version wrote it
        raise _damaged(segment, at, "its directory is of another form") from error
    if found_end != bodies + bodies_bytes:
        raise _damaged(segment, at, "its directory does not match its length")
    return Group(number, segment, at, found_end, ends, entries)


def _sizes(mark: bytes, head: bytes) -> tuple[int, int, int, int] | None:
    """Of a group by its head: its number, bytes and checksum of its directory, bytes of its bodies."""
    if len(head) < HEAD_BYTES or head[:8] != mark:
        return None
    if _CHECKSUM.unpack_from(head, _HEAD.size)[0] != zlib.crc32(head[: _HEAD.size]):
        return None
    _, number, directory_bytes, checksum, bodies_bytes = _HEAD.unpack_from(head)
    return None if directory_bytes > DIRECTORY_BYTES_MAX else (number, directory_bytes, checksum, bodies_bytes)


def _has_group(mark: bytes, at: int, size: int, read: Read) -> bool:
    """Whether a head lies somewhere behind: then what is before it was written whole once."""
    piece_bytes, kept = 1 << 20, b""
    while at < size:
        piece = read(at, piece_bytes)
        if not piece:
            return False
        window, base = kept + piece, at - len(kept)
        found = window.find(mark)
        while found >= 0:
            if _sizes(mark, read(base + found, HEAD_BYTES)) is not None:
                return True
            found = window.find(mark, found + 1)
        at, kept = at + len(piece), window[-len(mark) + 1 :]
    return False


def _is_sound(group: Group, read: Read) -> bool:
    spots = (spot for entry in group.entries for spot in entry.spots if spot.size > 0)
    return all(zlib.crc32(read(spot.offset, spot.size)) == spot.checksum for spot in spots)


def sound(spot: Spot, body: bytes) -> bytes:
    """A body that was read from its spot. Raises: StoreDamaged: it is not what was written."""
    if len(body) != spot.size or zlib.crc32(body) != spot.checksum:
        raise _damaged(spot.segment, spot.offset, f"the {spot.size:,} bytes of a frame have another checksum")
    return body


def _damaged(segment: int, at: int, why: str) -> StoreDamaged:
    return StoreDamaged(f"The shared store is damaged: segment {segment} of a log, from byte {at:,} on: {why}.")


def cost(frame: Frame) -> int:
    """At most so many bytes of a group: the body, and its row in the directory, where a character may take twelve."""
    return ROW_BYTES + 12 * len(frame.key) + len(frame.body or b"")


def checked(frames: Sequence[Frame]) -> None:
    """Raises: ValueError: a frame is none, or there are too many for one directory."""
    rows = sum(ROW_BYTES + 12 * len(frame.key) for frame in frames)
    if rows > DIRECTORY_BYTES_MAX // 2:
        raise ValueError(f"{len(frames):,} frames have keys and rows of {rows:,} bytes in one append")
    for frame in frames:
        if not 0 <= frame.kind < KINDS:
            raise ValueError(f"the kind of a frame is {frame.kind}, and may be 0 to {KINDS - 1}")
        if not 1 <= len(frame.key) <= KEY_CHARS_MAX:
            raise ValueError(f"a key has {len(frame.key):,} characters, and may have 1 to {KEY_CHARS_MAX:,}")
        if frame.body is not None and len(frame.body) > BODY_BYTES_MAX:
            raise ValueError(f"a frame has {len(frame.body):,} bytes, and may have {BODY_BYTES_MAX:,}")
