r"""Snapshots of the session's names: after a step what changed, for a fresh kernel everything again.

Is: the choice of names, their caps in bytes and time, and the stream to the host, which stores it unread. Is not: a
wall. Runs in the main thread between steps; values' own code (`__reduce__`) runs, so the host bounds the wait.
Above: `in_kernel/ipython/control.py`. Below: `writer.py`, `pickling.py`. Wire: `wire.py` (SNAPSHOT, RESTORE).

The stream of a snapshot, on a pipe: for each name `N <json {name, type}>\n`, then chunks `<4 bytes length><bytes>`
ended by a length of 0, or of `0xFFFFFFFF` where the name was given up. A name whose bytes are what they were is not
sent again.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

from rlm_kernel_mcp.in_kernel.display_text.inspection import type_name
from rlm_kernel_mcp.in_kernel.display_text.tracebacks import format_exception
from rlm_kernel_mcp.in_kernel.namespace.bound_names import is_shell_name
from rlm_kernel_mcp.in_kernel.namespace.offered import OFFERED
from rlm_kernel_mcp.in_kernel.snapshots.instance_reducers import Causes
from rlm_kernel_mcp.in_kernel.snapshots.pickling import OwnValue, read_value, use_own_values
from rlm_kernel_mcp.in_kernel.snapshots.unchanging import HELD_BYTES_MAX, Nothing, Sent, is_unchanging, print_of
from rlm_kernel_mcp.in_kernel.snapshots.values import write_value
from rlm_kernel_mcp.in_kernel.snapshots.writer import Memory, Sink, SnapshotStopped, TooLarge, Writer, write_all
from rlm_kernel_mcp.units import MB
from rlm_kernel_mcp.wire import (
    INLINE_SNAPSHOT_BYTES_MAX,
    SNAPSHOT_ABORTED,
    SNAPSHOT_NAME_CHARS_MAX,
    SNAPSHOT_NAMES_MAX,
    Failure,
    RestoreItem,
    SnapshotReply,
    SnapshotRow,
)

T = TypeVar("T")
REASON_CHARS: Final = 200
SMALL_NAMES: Final = 200
SMALL_S: Final = 0.01
"""Bounds, beside its bytes, of a snapshot that needs no pipe."""
SLOW_SHARE: Final = 0.5
"""A name that used more than this share of the time and still failed is not tried again until it is bound again."""


def or_failure(take: Callable[[], T]) -> T | Failure:
    """What `take` makes, or why it fails: a host that hears nothing takes the kernel for one that hangs."""
    try:
        return take()
    except BaseException as error:  # noqa: BLE001  (short of memory anything may fail)
        return {"status": "error", "ename": type(error).__name__, "evalue": str(error)}


class NamespaceSnapshots:
    """The snapshots of one session, seen from inside its kernel."""

    def __init__(self, user_ns: dict[str, Any], limits: Mapping[str, int], own: Iterable[str] = OFFERED) -> None:
        self._user_ns = user_ns
        self._name_bytes = limits["name_mb"] * MB
        self._total_bytes = limits["total_mb"] * MB
        self._step_s = limits["step_ms"] / 1000
        self._sent: dict[str, Sent] = {}
        self._sent_bytes = 0
        self._slow: dict[str, int] = {}
        self._token: int | None = None
        self._own: dict[str, Any] = {}
        self.own({name: user_ns[name] for name in own if name in user_ns})
        self._small: Memory | None = None
        """Where a small snapshot goes, while one is taken."""
        self._misfit: tuple[str, int] | None = None
        """Name and identity of a value that was too large or too slow for one; no other is tried while it is there."""
        self.stop = False
        """Set by a signal when the next step waits."""
        self.interruptible = False
        """Whether a value's own code may be running, into which the signal may raise."""

    def own(self, values: Mapping[str, Any], mapped: Collection[str] = ()) -> None:
        """The session has these by itself from now on, as a fresh kernel will; `mapped`: those that are a file's."""
        self._own = {**self._own, **values}  # another: a snapshot may be going through the one that there was
        use_own_values(self._own, mapped)

    def own_value(self, name: str) -> object:
        """What the session has under one of these names, whatever a step has bound to it; None without it."""
        return self._own.get(name)

    def interrupt(self) -> None:
        """By a signal's handler: the host wants the kernel."""
        self.stop = True
        if self.interruptible:
            self.interruptible = False
            raise SnapshotStopped

    def take(self, descriptor: int, token: int, after: int | None) -> SnapshotReply:
        """Send what changed; returns the account of it.

        Args:
            descriptor: the pipe.
            token: names this snapshot.
            after: the last snapshot that the host has; if it is not the one before this, everything is sent again.
        """
        return self._take(partial(write_all, descriptor), token, after)

    def unchanged(self, token: int, after: int | None) -> bool:
        """Whether the host has every value, as far as shows without looking into any; then this was the snapshot.

        False where a value may have changed in place: `take` finds that out.
        """
        if after is None or after != self._token:
            return False
        names, more = self._names()
        same = not more and len(names) == len(self._sent) and all(map(self._is_the_same, names, names.values()))
        if same:
            self._token = token
        return same

    def take_small(self, token: int, after: int | None) -> tuple[SnapshotReply, bytes] | None:
        """As `take`, with the stream in memory; None, with nothing changed, where the snapshot is not small.

        Most snapshots are: then they cost the host no pipe, no thread and no question.
        """
        if self._misfit is not None and id(self._user_ns.get(self._misfit[0])) == self._misfit[1]:
            return None
        before = dict(self._sent), self._sent_bytes, self._token, dict(self._slow)
        bounds = self._name_bytes, self._step_s
        self._name_bytes, self._step_s = min(INLINE_SNAPSHOT_BYTES_MAX, self._name_bytes), SMALL_S
        self._small, self._misfit = Memory(), None
        try:
            return self._take(self._small.write, token, after), self._small.stream()
        except SnapshotStopped:
            self._sent, self._sent_bytes, self._token, self._slow = before
            return None
        finally:
            self._name_bytes, self._step_s = bounds
            self._small = None

    def _take(self, sink: Sink, token: int, after: int | None) -> SnapshotReply:
        if after != self._token:
            self._sent.clear()
            self._sent_bytes = 0
        self._token, self.stop = token, False
        deadline = time.monotonic() + self._step_s
        names, more = self._names()
        if self._small is not None and len(names) > SMALL_NAMES:
            raise SnapshotStopped
        for gone in self._sent.keys() - names.keys():
            self._forget(gone)
        # Fresh bindings first: if the time runs out, only re-verifications are left undone.
        order = sorted(names, key=lambda name: self._is_known(name, names[name]))
        report: dict[str, SnapshotRow] = {}
        unverified: list[str] = []
        for name in order:
            value = names[name]
            row = report[name] = {"type": type_name(value), "why": None}
            if self._is_the_same(name, value):
                continue
            try:
                if self.stop or time.monotonic() > deadline:
                    raise SnapshotStopped
                row["why"] = self._tried(name, value, deadline, sink)
            except SnapshotStopped:
                if self._small is not None:
                    self._misfit = None if self.stop else (name, id(value))
                    raise
                unverified.append(name)
        return {"status": "ok", "names": report, "unverified": unverified, "more": more}

    def _names(self) -> tuple[dict[str, Any], int]:
        """The user's names, as many as are kept; the session's own only where they were bound again."""
        found = {
            name: value
            for name, value in list(self._user_ns.items())
            if not is_shell_name(name) and not (name in self._own and self._own[name] is value)
        }
        short = [(name, value) for name, value in found.items() if len(name) <= SNAPSHOT_NAME_CHARS_MAX]
        newest = dict(short[-SNAPSHOT_NAMES_MAX:])
        return newest, len(found) - len(newest)

    def _is_known(self, name: str, value: object) -> bool:
        return (known := self._sent.get(name)) is not None and known.identity == id(value)

    def _is_the_same(self, name: str, value: object) -> bool:
        """Whether a name has the value that was sent, which cannot have changed."""
        return (known := self._sent.get(name)) is not None and known.was(value)

    def _tried(self, name: str, value: object, deadline: float, sink: Sink) -> str | None:
        """Keep one name; returns why that cannot be.

        Raises:
            SnapshotStopped: the time is up, or the next step waits.
            OSError: the host does not take it.
        """
        if self._slow.get(name) == id(value):
            return "keeping it took too long"
        began = time.monotonic()
        try:
            self._keep(name, value, deadline, sink)
            return None
        except SnapshotStopped:
            # Only if it had most of the time for itself: a value at the end of a slow snapshot is not to blame.
            if time.monotonic() > deadline and deadline - began > SLOW_SHARE * self._step_s:
                self._slow[name] = id(value)
            raise
        except TooLarge:
            if self._small is not None:
                raise SnapshotStopped from None
            name_mb, total_mb = self._name_bytes // MB, self._total_bytes // MB
            why = f"its value is larger than {name_mb:,} MB, or the session's {total_mb:,} MB are full"
        except BrokenPipeError:
            raise
        except BaseException as error:  # noqa: BLE001  (a value's own code may raise anything)
            why = f"it cannot be kept: {self._text(error)}"
        self._forget(name)
        return why

    def _forget(self, name: str) -> None:
        known = self._sent.pop(name, None)
        self._sent_bytes -= known.bytes if known is not None else 0

    def _keep(self, name: str, value: object, deadline: float, sink: Sink) -> None:
        known = self._sent.get(name)
        room = self._total_bytes - self._sent_bytes + (known.bytes if known is not None else 0)
        limit = min(self._name_bytes, room)
        own = next((OwnValue(key) for key, bound in self._own.items() if bound is value), None)
        # A name that the session binds itself is stored as a reference, and so are all values that contain it.
        written = value if own is None else own
        # The first pass only measures: an unchanged value is not sent, and one that is too large must not be begun on
        # the wire.
        first, causes = Writer(limit, deadline, self, None), Causes()
        try:
            self._guarded(partial(write_value, written, first, causes, limit))
        except Exception as error:
            # Exceptions with causes that cannot be kept are tried again without these: the value matters more than its
            # history.
            if not causes.met or (isinstance(error, TooLarge) and self._small is not None):
                raise
            first, causes = Writer(limit, deadline, self, None), Causes(kept=False)
            self._guarded(partial(write_value, written, first, causes, limit))
        sent = first
        if known is None or known.digest != first.digest:
            sent = self._send(name, written, first, Writer(limit, deadline, self, sink), sink, causes)
        held = value if sent.bytes <= HELD_BYTES_MAX and is_unchanging(value) else Nothing
        self._forget(name)
        self._sent[name] = Sent(id(value), sent.digest, sent.bytes, held, print_of(value) if held is Nothing else None)
        self._sent_bytes += sent.bytes

    def _send(self, name: str, value: object, first: Writer, second: Writer, sink: Sink, causes: Causes) -> Writer:
        """Send a value; returns the writer that saw what was sent, since a thread may have changed the value by now."""
        head = b"N " + json.dumps({"name": name, "type": type_name(value)[:SNAPSHOT_NAME_CHARS_MAX]}).encode() + b"\n"
        if first.held is not None:
            held = b"".join(first.held)
            sink(head + struct.pack(">I", len(held)) + held + struct.pack(">I", 0))
            return first
        sink(head)
        try:
            self._guarded(partial(write_value, value, second, causes, second.limit_bytes))
        except BaseException:
            sink(struct.pack(">I", SNAPSHOT_ABORTED))
            raise
        sink(struct.pack(">I", 0))
        return second

    def restore(self, descriptor: int, items: list[RestoreItem]) -> dict[str, str | None]:
        """Bind names from the pickles in a file; by name None, or why it is not back."""
        self.stop = False
        report: dict[str, str | None] = {}
        for item in items:
            name = str(item["name"])
            try:
                # A new file object for each name: one that failed half-way may have read ahead.
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
        """The message of an exception from a value's own code; making it runs such code again."""
        try:
            ename, evalue, _ = self._guarded(partial(format_exception, type(error), error, None))
        except BaseException:  # noqa: BLE001
            return "its own code failed"
        return f"{ename}: {evalue}"[:REASON_CHARS]
