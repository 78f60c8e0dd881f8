"""One session's snapshots: values one after the other in one file, and an index of them that is replaced whole.

Is: what lies where, of which step, and whether it is still what was written. Is not: a reader of the values, nor of a
pipe: it takes the events of a stream. Above: `taking.py`, `pipe.py`. Below: `kernel/untrusted/snapshot_stream.py`, the
file system.

Two files take turns as the values are moved together, and the index names the one that counts: at any moment what
the index says is there. Blocking: everything but `index`, `matches` and `remove` is called in a thread, one call at a
time, `advance` too: what changes the index has one writer.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.kernel.untrusted.snapshot_report import KernelReport
from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import (
    Event,
    NameBegins,
    StreamBroken,
    StreamLimits,
    ValueBytes,
    decoded,
)
from rlm_kernel_mcp.policy import SnapshotLimits
from rlm_kernel_mcp.store.paths import snapshot_files
from rlm_kernel_mcp.units import MB

GARBAGE_BYTES_MIN: Final = 16 * MB
"""Dead bytes up to which the values are not moved together, where there is room for them."""
FILE_SHARE: Final = 2.5
"""How large the file may be, by the values it may hold: those, half as many dead bytes, and one stream of new ones.
While the values are moved together there are two files: a session takes at most 3.5 times its values of the disk."""
READ_BYTES: Final = 1 << 20
NO_TIME: Final = "there was no time to keep it"
DAMAGED: Final = "its snapshot on disk is damaged"


@dataclass(slots=True)
class Entry:
    """One name: where its bytes are, of which step, or why there are none."""

    type: str
    step: int
    offset: int = 0
    bytes: int = 0
    crc: int = 0
    why: str | None = None


@dataclass(slots=True)
class Index:
    """Everything that the file holds."""

    step: int = 0
    """The last step after which a snapshot was taken."""
    entries: dict[str, Entry] = field(default_factory=dict)
    more: int = 0


class SnapshotFile:
    """The bytes and the index of one session."""

    def __init__(self, state_dir: Path, session_id: str, limits: SnapshotLimits, *, is_new: bool = False) -> None:
        """`is_new`: the session has nothing on disk yet, so that there is nothing to wait for."""
        self._data_paths = snapshot_files(state_dir, session_id)[:2]
        self._index_path, self._partial = snapshot_files(state_dir, session_id)[2:]
        self._current = 0
        self._name_bytes = min(limits.name_mb, limits.total_mb) * MB
        self._total_bytes = limits.total_mb * MB
        self._file_bytes = int(self._total_bytes * FILE_SHARE)
        self._end = 0
        self.index = Index()
        if not is_new:
            self._load()

    @property
    def number(self) -> int:
        """Which of the two files has the values."""
        return self._current

    @property
    def stream_limits(self) -> StreamLimits:
        """What one stream may hold: every value, and as much again of ones that were given up."""
        return StreamLimits(self._name_bytes, 2 * self._total_bytes)

    def append(self, events: Iterable[Event]) -> dict[str, Entry]:
        """Append the values of a stream; returns the names that came.

        Raises:
            StreamBroken, OSError, and what `events` raises: nothing of the stream is kept.
        """
        target = _create(self._data_paths[self._current], os.O_WRONLY)
        try:
            os.ftruncate(target, self._end)  # a server that was killed may have left the beginning of a stream there
            received, self._end = self._append(events, target, self._end)
            return received
        finally:
            os.ftruncate(target, self._end)
            os.close(target)

    def _append(self, events: Iterable[Event], target: int, end: int) -> tuple[dict[str, Entry], int]:
        received: dict[str, Entry] = {}
        name = kind = ""
        size = crc = 0
        for event in events:
            if isinstance(event, ValueBytes):
                if end + size + len(event.data) > self._file_bytes:
                    raise StreamBroken(f"the session's snapshots pass {self._file_bytes:,} bytes")
                write_at(target, event.data, end + size)
                # A checksum against a damaged disk, not against anybody: whoever can write here can write the index
                # too.
                size, crc = size + len(event.data), zlib.crc32(event.data, crc)
            elif isinstance(event, NameBegins):
                name, kind, size, crc = event.name, event.type, 0, 0
            elif event.whole:  # else the value was given up, and the next one overwrites it
                received[name] = Entry(kind, -1, end, size, crc)
                end += size
        return received, end

    def matches(self, report: KernelReport) -> bool:
        """Whether a report says of a snapshot without values just what the index says, but for the step."""
        entries = {name: (entry.type, entry.why) for name, entry in self.index.entries.items()}
        return not report.unverified and report.more == self.index.more and report.names == entries

    def advance(self, step: int) -> None:
        """The values are what they were, after one more step; `write_index` writes that down."""
        self.index = self.advanced(step)

    def advanced(self, step: int) -> Index:
        """The index of values that are what they were after one more step."""
        entries = {name: replace(entry, step=step) for name, entry in self.index.entries.items()}
        return Index(step, entries, self.index.more)

    def store(self, step: int, report: KernelReport, stream: bytes) -> None:
        """`append` and `commit` in one, for a stream that is there as a whole.

        Raises: as they do.
        """
        self.commit(step, report, self.append(decoded([stream], self.stream_limits)))

    def commit(self, step: int, report: KernelReport, received: Mapping[str, Entry]) -> None:
        """Take what was received into the index, and write it.

        Raises:
            OSError: the index cannot be written; on disk the one before stays.
        """
        before = self.index.entries
        entries = {
            name: _entry(step, row, received.get(name), before.get(name), name in report.unverified)
            for name, row in report.names.items()
        }
        self.index = Index(step, entries, report.more)
        self.write_index()
        self._compact()

    def damaged(self) -> set[str]:
        """Names whose bytes are not what was written."""
        found: set[str] = set()
        try:
            source = self.open_for_reading()
        except OSError:
            return {name for name, entry in self.index.entries.items() if entry.why is None}
        try:
            for name, entry in self.index.entries.items():
                if entry.why is None and _crc(source, entry) != entry.crc:
                    found.add(name)
        finally:
            os.close(source)
        return found

    def open_for_reading(self) -> int:
        """A read-only descriptor of the values' file."""
        return os.open(self._data_paths[self._current], os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def remove(self) -> None:
        """Remove everything."""
        self.index, self._end = Index(), 0
        for path in (*self._data_paths, self._index_path, self._partial):
            path.unlink(missing_ok=True)

    # Inside

    def _load(self) -> None:
        """What an earlier server left; an index that cannot be read counts as none."""
        try:
            raw: dict[str, Any] = json.loads(self._index_path.read_text(encoding="utf-8"))
            entries = {str(name): Entry(**row) for name, row in raw["entries"].items()}
            # `& 1`: whatever number is there, it names one of the two files.
            self._current = int(raw["file"]) & 1
            self.index = Index(int(raw["step"]), entries, int(raw["more"]))
            self._end = self._data_paths[self._current].stat().st_size
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return

    def write_index(self) -> None:
        """Write the index as it is now.

        Raises:
            OSError: on disk the one before stays.
        """
        entries = {name: asdict(entry) for name, entry in self.index.entries.items()}
        raw = {"file": self._current, "step": self.index.step, "more": self.index.more, "entries": entries}
        with os.fdopen(_create(self._partial, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as file:
            json.dump(raw, file)
        # A rename: whoever is killed at any moment leaves the old index or the new one, and never a half.
        self._partial.replace(self._index_path)

    def _compact(self) -> None:
        """Once the dead bytes are more than the live ones: copy the live ones to the other file."""
        live = sum(entry.bytes for entry in self.index.entries.values())
        # At least half of the live bytes must be dead, so that each byte is copied at most twice on average.
        worth_it = max(min(GARBAGE_BYTES_MIN, self._total_bytes // 2), live // 2)
        if self._end - live < worth_it or self._end + live > self._file_bytes + self._total_bytes:
            return
        other = self._data_paths[1 - self._current]
        source = self.open_for_reading()
        try:
            target = _create(other, os.O_WRONLY | os.O_TRUNC)
            try:
                moved, end = _moved(self.index.entries, source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        before = self._data_paths[self._current]
        self.index = replace(self.index, entries=moved)
        self._current, self._end = 1 - self._current, end
        self.write_index()
        before.unlink(missing_ok=True)  # not earlier: until now the index on disk named it


def _entry(
    step: int, row: tuple[str, str | None], received: Entry | None, kept: Entry | None, unverified: bool
) -> Entry:
    """What a name's entry becomes: it has the new value, or else the older one under that one's step."""
    kind, why = row
    if why is not None:
        return Entry(kind, step, why=why)
    if received is not None:
        return replace(received, step=step)
    if kept is not None and kept.why is None:
        return replace(kept, step=kept.step if unverified else step)
    return Entry(kind, step, why=NO_TIME)


def _moved(entries: Mapping[str, Entry], source: int, target: int) -> tuple[dict[str, Entry], int]:
    """Copy the values one after the other; returns their entries as they then are, and where the last one ends."""
    moved, end = {}, 0
    for name, entry in entries.items():
        moved[name] = replace(entry, offset=end)
        for block in _blocks(source, entry):
            write_at(target, block, end)
            end += len(block)
    return moved, end


def _blocks(source: int, entry: Entry) -> Iterator[bytes]:
    """An entry's bytes; fewer where the file ends before them."""
    position, left = entry.offset, entry.bytes
    while left and (block := os.pread(source, min(left, READ_BYTES), position)):
        yield block
        position += len(block)
        left -= len(block)


def _crc(source: int, entry: Entry) -> int | None:
    """The checksum of an entry's bytes; None if they are not all there."""
    crc = size = 0
    for block in _blocks(source, entry):
        crc, size = zlib.crc32(block, crc), size + len(block)
    return crc if size == entry.bytes else None


def _create(path: Path, flags: int) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # O_NOFOLLOW: a link in the state directory must not make us write elsewhere.
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
