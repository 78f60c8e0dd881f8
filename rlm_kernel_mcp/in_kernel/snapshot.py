r"""Snapshots of the session's names: after a step what changed, for a fresh kernel everything again.

Is: the choice of names, their caps in bytes and time, and the stream to the host, which stores it unread. Is not: a
wall. Runs in the main thread between steps; values' own code (`__reduce__`) runs, so the host bounds the wait.
Above: `control.py`. Below: `pickling.py`. Wire: `wire.py` (SNAPSHOT, RESTORE).

The stream of a snapshot, on a pipe: for each name `N <json {name, type}>\n`, then chunks `<4 bytes length><bytes>`
ended by a length of 0, or of `0xFFFFFFFF` where the name was given up. A name whose bytes are what they were is not
sent again.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from rlm_kernel_mcp.in_kernel.changes import is_hidden
from rlm_kernel_mcp.in_kernel.inspection import type_name
from rlm_kernel_mcp.in_kernel.pickling import OwnValue, read_value, use_own_values, write_value
from rlm_kernel_mcp.in_kernel.tracebacks import format_exception
from rlm_kernel_mcp.wire import NAMESPACE, SNAPSHOT_ABORTED, SNAPSHOT_NAME_CHARS_MAX, SNAPSHOT_NAMES_MAX

T = TypeVar("T")
ATOMS: Final = (str, bytes, int, float, complex, bool, type(None), range)
"""Types whose values never change: the same object is the same value."""
ATOM_BYTES_MAX: Final = 1 << 16
"""An atom of at most this size is kept alive, to be known again: its `id` alone may be another object's by then."""
REASON_CHARS: Final = 200
BUFFER_BYTES: Final = 1 << 20
PIECE_BYTES: Final = 1 << 20
MB: Final = 1 << 20
SLOW_SHARE: Final = 0.5
"""A name that took more than this share of the time in vain is not tried again before it is bound anew."""


class SnapshotStopped(BaseException):
    """The next step wants the kernel, or the time is up. No `Exception`: values' own code catches those."""


class TooLarge(Exception):
    """The value's pickle passes the cap of one name."""


@dataclass(slots=True)
class Kept:
    """What was last sent of a name."""

    identity: int
    digest: bytes
    bytes: int
    atom: object = None
    """The value itself, where it is a small atom."""


class Writer:
    """A file for the pickler: hashes, counts, checks the caps, and passes on where it has a descriptor."""

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
        self._snapshots.interruptible = False  # not in the middle of a chunk
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE_BYTES):
            if self._snapshots.stop or time.monotonic() > self._deadline:
                raise SnapshotStopped
            self._take(bytes(view[start : start + PIECE_BYTES]))
        self._snapshots.interruptible = True
        return len(view)

    def _take(self, block: bytes) -> None:
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
        self._kept_bytes = 0
        self._slow: dict[str, int] = {}
        self._token: int | None = None
        self._own = {name: user_ns[name] for name in NAMESPACE if name in user_ns}
        use_own_values(self._own)
        self.stop = False
        """Set by a signal when the next step waits."""
        self.interruptible = False
        """Whether a value's own code may be running, into which the signal may raise."""

    def interrupt(self) -> None:
        """By a signal's handler: the host wants the kernel."""
        self.stop = True
        if self.interruptible:
            self.interruptible = False
            raise SnapshotStopped

    def take(self, descriptor: int, token: int, after: int | None) -> dict[str, Any]:
        """Send what changed; returns `{names: {name: {type, why}}, unverified: [name], more}`.

        `why` is null where the host has the value, else why it has not. `unverified`: not looked at this time. `more`:
        names beyond those that are kept at all.

        Args:
            descriptor: the pipe.
            token: names this snapshot.
            after: the last snapshot that the host has; if it is not the one before this, everything is sent again.
        """
        if after != self._token:
            self._kept.clear()
            self._kept_bytes = 0
        self._token, self.stop = token, False
        deadline = time.monotonic() + self._step_s
        names, more = self._names()
        for gone in self._kept.keys() - names.keys():
            self._forget(gone)
        # Fresh bindings first: if the time is up, what is only verified again is what stays undone.
        order = sorted(names, key=lambda name: self._is_known(name, names[name]))
        report: dict[str, dict[str, Any]] = {}
        unverified: list[str] = []
        for name in order:
            value = names[name]
            row = report[name] = {"type": type_name(value), "why": None}
            if self._is_same_atom(name, value):
                continue
            if self.stop or time.monotonic() > deadline:
                unverified.append(name)
                continue
            try:
                row["why"] = self._tried(name, value, deadline, descriptor)
            except SnapshotStopped:
                unverified.append(name)
        return {"names": report, "unverified": unverified, "more": more}

    def _names(self) -> tuple[dict[str, Any], int]:
        """The user's names, as many as are kept; the session's own only where they were bound anew."""
        found = {
            name: value
            for name, value in list(self._user_ns.items())
            if not is_hidden(name) and not (name in self._own and self._own[name] is value)
        }
        short = [(name, value) for name, value in found.items() if len(name) <= SNAPSHOT_NAME_CHARS_MAX]
        newest = dict(short[-SNAPSHOT_NAMES_MAX:])
        return newest, len(found) - len(newest)

    def _is_known(self, name: str, value: object) -> bool:
        kept = self._kept.get(name)
        return kept is not None and kept.identity == id(value)

    def _is_same_atom(self, name: str, value: object) -> bool:
        kept = self._kept.get(name)
        return kept is not None and kept.atom is value and type(value) in ATOMS and value is not None

    def _tried(self, name: str, value: object, deadline: float, descriptor: int) -> str | None:
        """Keep one name; returns why that cannot be.

        Raises:
            SnapshotStopped: the time is up, or the next step waits.
            OSError: the host does not take it.
        """
        if self._slow.get(name) == id(value):
            return "keeping it took too long"
        began = time.monotonic()
        try:
            self._keep(name, value, deadline, descriptor)
            return None
        except SnapshotStopped:
            if time.monotonic() > deadline and deadline - began > SLOW_SHARE * self._step_s:
                self._slow[name] = id(value)
            raise
        except TooLarge:
            name_mb, total_mb = self._name_bytes // MB, self._total_bytes // MB
            why = f"its value is larger than {name_mb:,} MB, or the session's {total_mb:,} MB are full"
        except BrokenPipeError:
            raise
        except BaseException as error:  # noqa: BLE001  (a value's own code may raise anything)
            why = f"it cannot be kept: {self._text(error)}"
        self._forget(name)
        return why

    def _forget(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        self._kept_bytes -= kept.bytes if kept is not None else 0

    def _keep(self, name: str, value: object, deadline: float, descriptor: int) -> None:
        kept = self._kept.get(name)
        room = self._total_bytes - self._kept_bytes + (kept.bytes if kept is not None else 0)
        limit = min(self._name_bytes, room)
        first = Writer(limit, deadline, self, None)
        own = next((OwnValue(key) for key, known in self._own.items() if known is value), None)
        written = value if own is None else own
        self._guarded(partial(write_value, written, first))
        sent = first
        if kept is None or kept.digest != first.digest:
            sent = self._send(name, written, first, Writer(limit, deadline, self, descriptor), descriptor)
        atom = value if type(value) in ATOMS and sent.bytes <= ATOM_BYTES_MAX else None
        self._forget(name)
        self._kept[name] = Kept(id(value), sent.digest, sent.bytes, atom)
        self._kept_bytes += sent.bytes

    def _send(self, name: str, value: object, first: Writer, second: Writer, descriptor: int) -> Writer:
        """Send a value; returns the writer that saw what was sent, which a thread may have made another by now."""
        head = b"N " + json.dumps({"name": name, "type": type_name(value)}).encode() + b"\n"
        if first.held is not None:
            held = b"".join(first.held)
            write_all(descriptor, head + struct.pack(">I", len(held)) + held + struct.pack(">I", 0))
            return first
        write_all(descriptor, head)
        try:
            self._guarded(partial(write_value, value, second))
        except BaseException:
            write_all(descriptor, struct.pack(">I", SNAPSHOT_ABORTED))
            raise
        write_all(descriptor, struct.pack(">I", 0))
        return second

    def restore(self, descriptor: int, items: list[dict[str, Any]]) -> dict[str, str | None]:
        """Bind names from the pickles in a file, `{name, offset, bytes}` each; name to null, or why it is not back."""
        self.stop = False
        report: dict[str, str | None] = {}
        for item in items:
            name = str(item["name"])
            try:
                with os.fdopen(os.dup(descriptor), "rb") as file:
                    file.seek(int(item["offset"]))
                    self._user_ns[name] = self._guarded(partial(read_value, file))
                report[name] = None
            except SnapshotStopped:
                report[name] = "its own code did not end when it was restored"
            except BaseException as error:  # noqa: BLE001  (a value's own code may raise anything)
                report[name] = f"its snapshot cannot be read: {self._text(error)}"
        return report

    def _guarded(self, run: Callable[[], T]) -> T:
        """Run what may run a value's own code: the host's signal may end it."""
        self.interruptible = True
        try:
            return run()
        finally:
            self.interruptible = False

    def _text(self, error: BaseException) -> str:
        """What an exception of a value's own code says of itself, which is its own code again."""
        try:
            ename, evalue, _ = self._guarded(partial(format_exception, type(error), error, None))
        except BaseException:  # noqa: BLE001
            return "its own code failed"
        return f"{ename}: {evalue}"[:REASON_CHARS]


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
