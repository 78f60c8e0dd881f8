r"""Snapshots of the session's names: after a step what changed, for a fresh kernel everything again.

Is: the choice of names, their caps in bytes and time, and the stream to the host, which stores it unread. Is not: a
wall.
Runs in the main thread between steps; values' own code (`__reduce__`) runs, so the host bounds the wait from outside.
Above: `control.py`. Below: `pickling.py`. Wire: `wire.py` (SNAPSHOT, RESTORE).

The stream of a snapshot, on a pipe: for each name `N <json {name, type}>\n`, then chunks `<4 bytes length><bytes>`
ended by a length of 0,
or of `0xFFFFFFFF` where the name was given up. A name whose bytes are what they were is not sent again.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.changes import is_hidden
from rlm_kernel_mcp.in_kernel.inspection import type_name
from rlm_kernel_mcp.in_kernel.pickling import read_value, write_value
from rlm_kernel_mcp.wire import NAMESPACE, SNAPSHOT_ABORTED

ATOMS: Final = (str, bytes, int, float, complex, bool, type(None), range)
"""Types whose values never change: the same object is the same value."""
REASON_CHARS: Final = 200
BUFFER_BYTES: Final = 1 << 20
MB: Final = 1 << 20


class SnapshotStopped(Exception):
    """The next step wants the kernel, or the time is up."""


class TooLarge(Exception):
    """The value's pickle passes the cap of one name."""


@dataclass(slots=True)
class Kept:
    """What was last sent of a name."""

    identity: int
    digest: bytes
    bytes: int
    atom: bool


class Writer:
    """A file for the pickler: hashes, counts, checks the caps, and passes on once told to."""

    def __init__(self, limit_bytes: int, deadline: float, snapshots: Snapshots, descriptor: int | None) -> None:
        self._limit_bytes = limit_bytes
        self._deadline = deadline
        self._snapshots = snapshots
        self._descriptor = descriptor
        self._hash = hashlib.blake2b(digest_size=16)
        self.bytes = 0
        self.held: list[bytes] | None = []
        """The bytes so far while they are few, so that a small value is pickled once."""

    def write(self, data: Any) -> int:
        """pickle's file interface."""
        if self._snapshots.stop or time.monotonic() > self._deadline:
            raise SnapshotStopped
        block = bytes(data)
        self.bytes += len(block)
        if self.bytes > self._limit_bytes:
            raise TooLarge
        self._hash.update(block)
        if self._descriptor is not None:
            send_chunk(self._descriptor, block)
        elif self.held is not None:
            self.held.append(block)
            if self.bytes > BUFFER_BYTES:
                self.held = None
        return len(block)

    @property
    def digest(self) -> bytes:
        return self._hash.digest()


class Snapshots:
    """The snapshots of one session, seen from inside its kernel."""

    def __init__(self, user_ns: dict[str, Any], limits: Mapping[str, int]) -> None:
        self._user_ns = user_ns
        self._name_bytes = limits["name_mb"] * MB
        self._total_bytes = limits["total_mb"] * MB
        self._step_s = limits["step_ms"] / 1000
        self._kept: dict[str, Kept] = {}
        self._own = {name: user_ns.get(name) for name in NAMESPACE}
        self.stop = False
        """Set by a signal when the next step waits."""

    def take(self, descriptor: int) -> dict[str, Any]:
        """Send what changed; returns the report `{names: {name: {type, why}}, unverified: [name], complete}`.

        `why` is null where the host has the value, else why it has not.
        """
        self.stop = False
        deadline = time.monotonic() + self._step_s
        names = self._names()
        for gone in self._kept.keys() - names.keys():
            del self._kept[gone]
        # Fresh bindings first: if the time is up, what is only verified again is what stays undone.
        order = sorted(names, key=lambda name: self._unchanged(name, names[name]))
        report: dict[str, dict[str, Any]] = {}
        unverified: list[str] = []
        stopped = False
        for name in order:
            value = names[name]
            kept = self._kept.get(name)
            row = report[name] = {"type": type_name(value), "why": None}
            if kept is not None and kept.atom and kept.identity == id(value):
                continue
            if stopped:
                if kept is not None and kept.identity == id(value):
                    unverified.append(name)
                else:
                    row["why"] = "there was no time to keep it"
                continue
            try:
                self._keep(name, value, deadline, descriptor)
            except SnapshotStopped:
                stopped = True
                if kept is not None and kept.identity == id(value):
                    unverified.append(name)
                else:
                    row["why"] = "there was no time to keep it"
            except TooLarge:
                self._kept.pop(name, None)
                name_mb, total_mb = self._name_bytes // MB, self._total_bytes // MB
                row["why"] = f"its value is larger than {name_mb:,} MB, or the session's {total_mb:,} MB are full"
            except Exception as error:  # noqa: BLE001  (a value's own code may raise anything)
                self._kept.pop(name, None)
                row["why"] = f"it cannot be kept: {type(error).__name__}: {error}"[:REASON_CHARS]
        return {"names": report, "unverified": unverified, "complete": not stopped}

    def _names(self) -> dict[str, Any]:
        """The user's names; the session's own only where they were bound anew."""
        return {
            name: value
            for name, value in list(self._user_ns.items())
            if not is_hidden(name) and not (name in self._own and self._own[name] is value)
        }

    def _unchanged(self, name: str, value: object) -> bool:
        kept = self._kept.get(name)
        return kept is not None and kept.identity == id(value)

    def _keep(self, name: str, value: object, deadline: float, descriptor: int) -> None:
        kept = self._kept.get(name)
        room = self._total_bytes - sum(other.bytes for key, other in self._kept.items() if key != name)
        limit = min(self._name_bytes, room)
        first = Writer(limit, deadline, self, None)
        write_value(value, first)  # type: ignore[arg-type]  # pickle asks for `write` alone
        if kept is None or kept.digest != first.digest:
            self._send(name, value, first, Writer(limit, deadline, self, descriptor), descriptor)
        self._kept[name] = Kept(id(value), first.digest, first.bytes, type(value) in ATOMS)

    def _send(self, name: str, value: object, first: Writer, second: Writer, descriptor: int) -> None:
        head = json.dumps({"name": name, "type": type_name(value)})
        write_all(descriptor, b"N " + head.encode() + b"\n")
        try:
            if first.held is not None:
                for block in first.held:
                    send_chunk(descriptor, block)
            else:
                write_value(value, second)  # type: ignore[arg-type]
        except BaseException:
            write_all(descriptor, struct.pack(">I", SNAPSHOT_ABORTED))
            raise
        write_all(descriptor, struct.pack(">I", 0))

    def restore(self, descriptor: int, items: list[dict[str, Any]]) -> dict[str, str | None]:
        """Bind names from the pickles in a file, `{name, offset, bytes}` each; name to null, or why it is not back."""
        report: dict[str, str | None] = {}
        for item in items:
            name, size = str(item["name"]), int(item["bytes"])
            try:
                with os.fdopen(os.dup(descriptor), "rb") as file:
                    file.seek(int(item["offset"]))
                    self._user_ns[name] = value = read_value(file)
                self._kept[name] = Kept(id(value), b"", size, False)
                report[name] = None
            except Exception as error:  # noqa: BLE001  (a value's own code may raise anything)
                report[name] = f"its snapshot cannot be read: {type(error).__name__}: {error}"[:REASON_CHARS]
        return report


def send_chunk(descriptor: int, block: bytes) -> None:
    """One chunk of a value's bytes; an empty one would be its end."""
    if block:
        write_all(descriptor, struct.pack(">I", len(block)))
        write_all(descriptor, block)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything; a pipe takes what it has room for."""
    window = memoryview(data)
    while window:
        window = window[os.write(descriptor, window) :]
