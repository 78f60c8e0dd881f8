"""The values of one session on their way to another node and from one: opaque bytes, name by name.

Is: what of the file others do not have yet, what they are told of each name meanwhile, and the same file made again of
what they were given. Is not: the file's form (`file.py`), where the bytes go, nor a reader of a value: nothing here is
ever unpickled. Above: `session/carrying/`. Below: `file.py`.

What others have of a name is a value and the step after which it was that one. A value that is not with them yet leaves
them the one before, under that one's step: whoever restores it says that later steps may have changed it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import (
    Event,
    NameBegins,
    StreamBroken,
    ValueBytes,
    ValueEnds,
)
from rlm_kernel_mcp.session.snapshots.file import NO_TIME, Entry, Index, SnapshotFile
from rlm_kernel_mcp.wire import INLINE_SNAPSHOT_BYTES_MAX

VALUE: Final = "value:"
INDEX: Final = "index"
NAME_CHARS_MAX: Final = 500
"""Of a name that stands in a key as it is; in place of a longer one its hash does."""
VALUE_BYTES_MAX: Final = 255 << 20
"""Of one value: larger ones stay where they are."""
READ_BYTES: Final = 1 << 20
AT_ONCE_NAMES: Final = 200
AT_ONCE_BYTES: Final = INLINE_SNAPSHOT_BYTES_MAX
"""What is read without a thread, which would take longer than that."""

Frame = tuple[str, bytes | None]
Place = tuple[int, int, int, int]
"""Which bytes a value is: file, offset, size, checksum. No other value of a session ever has the same."""


@dataclass(slots=True)
class Look:
    """The file at one moment: its index, and the bytes that it names, for as long as this is open."""

    index: Index
    file_number: int
    descriptor: int

    def is_small(self, sent: SentValues) -> bool:
        """Whether what others lack is no more than what a step's reply may bring."""
        entries = self.index.entries.items()
        new = sum(entry.bytes for name, entry in entries if sent.places.get(name) != self.place_of(entry))
        return len(entries) <= AT_ONCE_NAMES and new <= AT_ONCE_BYTES

    def place_of(self, entry: Entry) -> Place:
        return (self.file_number, entry.offset, entry.bytes, entry.crc)

    def close(self) -> None:
        """Let the bytes go. Safe to call twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def look_at(file: SnapshotFile, step: int) -> Look:
    """The file as it is now; called where nothing changes it. `step`: after which its values are still those.

    Raises: OSError.
    """
    try:
        descriptor = file.open_for_reading()
    except FileNotFoundError:  # no value has come yet
        descriptor = -1
    return Look(file.index if step <= file.index.step else file.advanced(step), file.number, descriptor)


@dataclass(frozen=True, slots=True)
class SentValues:
    """What others have of a session's values, as far as is known: what was given since may have come to them or not.

    So each name has two keys in turn. A value goes under the one that others are not known to have, and what they have
    stays until it is known that they have the new one: whatever came, what they are told of a name is there.
    """

    places: Mapping[str, Place] = field(default_factory=dict)
    """Names whose value they have, and which it is."""
    turns: Mapping[str, int] = field(default_factory=dict)
    """Under which of its keys."""
    rows: Mapping[str, Entry] = field(default_factory=dict)
    """What they are told of each name."""
    step: int = 0
    more: int = 0
    unused: frozenset[str] = frozenset()
    """Keys of values that they are not told of any more."""


@dataclass(frozen=True, slots=True)
class ChangedValues:
    """What others lack, in the order in which they are to have it; and the names of which they still lack something."""

    frames: tuple[Frame, ...]
    sent: SentValues
    """For the next time, once they have these."""
    lacking: frozenset[str]


def value_key(name: str, turn: int) -> str:
    """Under which others have a name's value."""
    if len(name) > NAME_CHARS_MAX or not name.isprintable() or name.startswith("#"):
        name = f"#{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return f"{VALUE}{turn}:{name}"


def changed(look: Look, sent: SentValues, bytes_max: int) -> ChangedValues:
    """What others lack, at most so many bytes of values: the smallest ones, so that as many names as can be are there.

    Raises: OSError: the file cannot be read; what others have is as it was.
    """
    frames: list[Frame] = []
    places, turns, rows = dict[str, Place](), dict[str, int](), dict[str, Entry]()
    lacking: set[str] = set()
    room = bytes_max
    for name, entry in sorted(look.index.entries.items(), key=lambda row: row[1].bytes):
        place, rows[name] = look.place_of(entry), entry
        if entry.why is None and sent.places.get(name) == place:
            places[name], turns[name] = place, sent.turns[name]
        elif entry.why is None and entry.bytes <= min(room, VALUE_BYTES_MAX):
            places[name], turns[name] = place, 1 - sent.turns.get(name, 1)
            frames.append((value_key(name, turns[name]), _bytes_of(look, entry)))
            room -= entry.bytes
        elif entry.why is None:
            lacking.add(name)
            rows[name] = sent.rows[name] if name in sent.places else Entry(entry.type, entry.step, why=NO_TIME)
            if name in sent.places:
                places[name], turns[name] = sent.places[name], sent.turns[name]
    told = {name: rows[name] for name in look.index.entries}
    before = {value_key(name, turn) for name, turn in sent.turns.items()}
    used = {value_key(name, turn) for name, turn in turns.items()}
    if not frames and (told, look.index.step, look.index.more) == (sent.rows, sent.step, sent.more):
        return ChangedValues((), sent, frozenset(lacking))
    now = SentValues(places, turns, told, look.index.step, look.index.more, frozenset(before - used))
    gone: list[Frame] = [(key, None) for key in sorted(sent.unused - used)]
    return ChangedValues((*frames, (INDEX, _index_body(now)), *gone), now, frozenset(lacking))


def _bytes_of(look: Look, entry: Entry) -> bytes:
    parts: list[bytes] = []
    position, left = entry.offset, entry.bytes
    while left:
        block = os.pread(look.descriptor, min(left, READ_BYTES), position)
        if not block:
            raise OSError("the file of the session's values is shorter than its index says")
        parts.append(block)
        position, left = position + len(block), left - len(block)
    return b"".join(parts)


def _index_body(sent: SentValues) -> bytes:
    """What each name is: type, step, size and checksum of its value; or why there is none; and its key's turn."""
    rows = {
        name: [row.type, row.step, row.bytes, row.crc, row.why, sent.turns.get(name, 0)]
        for name, row in sent.rows.items()
    }
    return json.dumps({"step": sent.step, "more": sent.more, "names": rows}).encode()


class NotAsWritten(ValueError):
    """What came is not what a node of ours has written."""


def bring_in(file: SnapshotFile, frames: Iterable[tuple[str, bytes]]) -> SentValues:
    """Make the file of a session of what others were given; its values come as they are iterated, one in memory.

    Raises:
        NotAsWritten: they do not fit together. OSError: the disk does not take them. What is there is not a session's.
    """
    found: list[bytes] = []
    try:
        received = file.append(_events(frames, found))
    except StreamBroken as error:
        raise NotAsWritten(str(error)) from None
    if not found:
        if received:
            raise NotAsWritten("there are values, and no index of them")
        return SentValues()
    index, turns = _index_of(found[-1])
    keys = {name: value_key(name, turns[name]) for name, row in index.entries.items() if row.why is None}
    for name, key in keys.items():
        row, came = index.entries[name], received.get(key)
        if came is None or (came.bytes, came.crc) != (row.bytes, row.crc):
            raise NotAsWritten(f"the value of {name[:100]!r} is not the one that the index names")
        row.offset = came.offset
    file.index = index
    file.write_index()
    places = {
        name: (file.number, row.offset, row.bytes, row.crc) for name, row in index.entries.items() if name in keys
    }
    unused = frozenset(received.keys() - keys.values())
    turns = {name: turns[name] for name in keys}
    return SentValues(places, turns, dict(index.entries), index.step, index.more, unused)


def _events(frames: Iterable[tuple[str, bytes]], found: list[bytes]) -> Iterator[Event]:
    for key, body in frames:
        if key == INDEX:
            found.append(body)
        elif key.startswith(VALUE):
            yield NameBegins(key, "")
            yield ValueBytes(body)
            yield ValueEnds(whole=True)


def _index_of(body: bytes) -> tuple[Index, dict[str, int]]:
    """The index, and the turn of each name's key."""
    try:
        said: dict[str, Any] = json.loads(body)
        entries = {name: _entry_of(*row[:5]) for name, row in said["names"].items()}
        turns = {name: _count(row[5]) & 1 for name, row in said["names"].items()}
        return Index(_count(said["step"]), entries, _count(said["more"])), turns
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NotAsWritten(f"its index of values cannot be read ({type(error).__name__})") from None


def _entry_of(kind: object, step: object, size: object, crc: object, why: object) -> Entry:
    if type(kind) is not str or not (why is None or type(why) is str):
        raise TypeError("no text")
    return Entry(kind, _count(step), 0, _count(size), _count(crc), why)


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise TypeError("no count")
    return value
