"""One session's snapshots in one file, appended to, and an index beside it that is replaced whole.

Is: receiving the kernel's stream within its caps, and knowing what stands where. Is not: a reader of the bytes. Above:
`snapshots.py`.
Below: the file system. The stream's format: `in_kernel/snapshot.py`.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.policy import Snapshots as Limits
from rlm_kernel_mcp.wire import SNAPSHOT_ABORTED

MB: Final = 1 << 20
HEAD_BYTES_MAX: Final = 8_192
CHUNK_BYTES_MAX: Final = 1 << 30
READ_BYTES: Final = 1 << 18
GARBAGE_BYTES_MIN: Final = 16 * MB
POLL_MS: Final = 200


class StreamBroken(Exception):
    """The kernel's stream breaks its format or a cap, or does not end in time."""


@dataclass(slots=True)
class Entry:
    """One name: where its bytes are, of which step, or why there are none."""

    type: str
    step: int
    offset: int = 0
    bytes: int = 0
    why: str | None = None


class SnapshotFile:
    """The bytes and the index of one session. `receive` runs in a thread; the rest belongs to the event loop."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._index_path = path.with_suffix(".json")
        self._limits = limits
        self._end = 0
        self._received: dict[str, Entry] = {}
        self._stop = threading.Event()
        self.index: dict[str, Entry] = {}
        self._load()

    def _load(self) -> None:
        """What an earlier server left; an unreadable index is none."""
        try:
            raw = json.loads(self._index_path.read_text(encoding="utf-8"))
            self._end = self._path.stat().st_size
            found = {str(name): Entry(**row) for name, row in raw.items()}
            self.index = {
                name: entry for name, entry in found.items() if entry.why or entry.offset + entry.bytes <= self._end
            }
        except (OSError, ValueError, TypeError, AttributeError):
            self.index = {}

    def receive(self, reader: int, step_ms: int) -> None:
        """Append a stream's values to the file; runs in a thread until the stream ends.

        Raises:
            StreamBroken, OSError.
        """
        self._received = {}
        self._stop.clear()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(target, self._end)
            stream = _Stream(reader, time.monotonic() + step_ms / 1000 + 1, self._stop)
            while (head := stream.head()) is not None:
                self._receive_one(stream, target, head)
        finally:
            os.close(target)
            os.close(reader)

    def _receive_one(self, stream: _Stream, target: int, head: dict[str, str]) -> None:
        offset, size = self._end, 0
        cap = min(self._limits.name_mb, self._limits.total_mb) * MB
        while (length := stream.length()) not in (0, SNAPSHOT_ABORTED):
            size += length
            if size > cap or offset + size > 3 * self._limits.total_mb * MB:
                raise StreamBroken(f"more than {cap:,} bytes of one name")
            stream.copy(length, target, offset + size - length)
        if length == 0:
            self._received[str(head["name"])] = Entry(str(head["type"]), -1, offset, size)
            self._end = offset + size

    def stop_receiving(self) -> None:
        """End a `receive` that is still waiting."""
        self._stop.set()

    def commit(self, step_index: int, names: dict[str, tuple[str, str | None]], unverified: set[str]) -> None:
        """Take what was received into the index, and write it; call after `receive` has ended.

        Raises:
            OSError: the index cannot be written; the one before stays.
        """
        fresh: dict[str, Entry] = {}
        for name, (kind, why) in names.items():
            received, kept = self._received.get(name), self.index.get(name)
            if why is not None:
                fresh[name] = Entry(kind, step_index, why=why)
            elif received is not None:
                fresh[name] = Entry(kind, step_index, received.offset, received.bytes)
            elif kept is not None and kept.why is None:
                step = kept.step if name in unverified else step_index
                fresh[name] = Entry(kind, step, kept.offset, kept.bytes)
            else:
                fresh[name] = Entry(kind, step_index, why="its value was not kept")
        self.index = fresh
        self._compact()
        self._write_index()

    def _write_index(self) -> None:
        partial = self._index_path.with_suffix(".part")
        text = json.dumps({name: asdict(entry) for name, entry in self.index.items()})
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        partial.replace(self._index_path)

    def _compact(self) -> None:
        """Drop dead bytes once they are more than the live ones: copy the live ones to a new file."""
        live = sum(entry.bytes for entry in self.index.values())
        if self._end - live < max(GARBAGE_BYTES_MIN, live):
            return
        partial = self._path.with_suffix(".part.bin")
        source = self.open_for_reading()
        target = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            end = 0
            for entry in self.index.values():
                start, stop = entry.offset, entry.offset + entry.bytes
                entry.offset = end
                while start < stop:
                    copied = os.sendfile(target, source, start, stop - start)
                    start += copied
                    end += copied
        finally:
            os.close(source)
            os.close(target)
        self._index_path.unlink(missing_ok=True)  # an index must never name another file's offsets
        partial.replace(self._path)
        self._end = end

    def open_for_reading(self) -> int:
        """A read-only descriptor of the file."""
        return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def remove(self) -> None:
        """Remove both files."""
        self.index = {}
        self._path.unlink(missing_ok=True)
        self._index_path.unlink(missing_ok=True)


class _Stream:
    """Reads the kernel's stream from a pipe, never longer than until the deadline."""

    def __init__(self, reader: int, deadline: float, stop: threading.Event) -> None:
        self._reader = reader
        self._deadline = deadline
        self._stop = stop
        self._buffer = bytearray()
        self._poll = select.poll()
        self._poll.register(reader, select.POLLIN)

    def _more(self) -> bool:
        """Wait for more bytes; false at the end of the stream."""
        while not self._poll.poll(POLL_MS):
            if self._stop.is_set() or time.monotonic() > self._deadline:
                raise StreamBroken("the stream does not end")
        data = os.read(self._reader, READ_BYTES)
        self._buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not self._more():
                raise StreamBroken("the stream ends within a value")
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def head(self) -> dict[str, str] | None:
        """The next name, or None at the end."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise StreamBroken("a name's head does not end")
            if not self._more():
                if self._buffer:
                    raise StreamBroken("the stream ends within a head")
                return None
        line = self._take(self._buffer.index(b"\n") + 1)
        try:
            head = json.loads(line.removeprefix(b"N "))
        except (ValueError, RecursionError) as error:
            raise StreamBroken("a name's head is not JSON") from error
        if not line.startswith(b"N ") or not isinstance(head, dict) or not {"name", "type"} <= head.keys():
            raise StreamBroken("a name's head has another shape")
        return head

    def length(self) -> int:
        """The length of the next chunk."""
        length = int.from_bytes(self._take(4), "big")
        if length > CHUNK_BYTES_MAX and length != SNAPSHOT_ABORTED:
            raise StreamBroken("a chunk is too long")
        return length

    def copy(self, count: int, target: int, offset: int) -> None:
        """Copy bytes of the stream into a file."""
        while count:
            if not self._buffer and not self._more():
                raise StreamBroken("the stream ends within a value")
            block = bytes(self._buffer[:count])
            del self._buffer[: len(block)]
            done = 0
            while done < len(block):
                done += os.pwrite(target, block[done:], offset + done)
            offset += len(block)
            count -= len(block)
