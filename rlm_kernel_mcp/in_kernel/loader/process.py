"""A loader: a process that reads one context behind all walls, and ends.

Is: what the fork server makes of a request for a loader: the walls, then the answers to the host. Is not: a place for
anybody's code: it runs none, and what it reads is bytes. Above: `fork_server.py`. Below: `reading.py`, `walls/`.

It has no file, no network and no more memory than it needs; what it reads and writes are descriptors that the host
hands over. So bytes that would break a decoder or a decompressor break a process that has nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final, NoReturn

from rlm_kernel_mcp.context_wire import DATAGRAM_BYTES, FILES_MAX, INDEX_ROWS
from rlm_kernel_mcp.in_kernel.loader.reading import Pass, hash_of
from rlm_kernel_mcp.in_kernel.loader.unpacking import Unreadable, zstd_module
from rlm_kernel_mcp.in_kernel.loader.values import write_value
from rlm_kernel_mcp.in_kernel.walls.plan import plan_from_policy
from rlm_kernel_mcp.in_kernel.walls.raising import enter_namespaces, raise_lock_a, raise_lock_b
from rlm_kernel_mcp.wire import DESCRIPTOR_FD

MEMORY_MB: Final = 384
"""For the largest dictionaries that are allowed, the table of 200,000 documents and the index of 64 GB."""
TOLD_S: Final = 0.5
_LATE: Final = (
    "encodings.latin_1",
    "encodings.utf_16",
    "encodings.utf_16_le",
    "encodings.utf_32",
    "encodings.utf_32_le",
    "encodings.utf_8_sig",
)
"""Imported on first use; behind the walls no file can be read."""

Announce = Callable[[int, int], None]


def load(
    request: Mapping[str, Any], policy: Mapping[str, Any], announce: Announce, ready: Callable[[Any], None]
) -> NoReturn:
    """Raise the walls, answer until the host closes its end, end.

    `request`: {scratch, sockets, file_mb, cpu_s, value_mb}.

    Raises:
        WallFailed: a wall that the policy requires cannot be raised.
    """
    for name in _LATE:
        importlib.import_module(name)
    # Imported now, for the same reason: it is an extension module, which lock B refuses to map.
    zstd_module()
    plan = plan_from_policy(policy, scratch=request["scratch"], socket_dir=request["sockets"])
    plan = replace(
        plan,
        read_only=(),
        memory_mb=MEMORY_MB + int(request["value_mb"]),
        mapped_max_gb=0,
        scratch_mb=0,
        file_mb=int(request["file_mb"]),
        map_libraries=False,
    )
    raised = enter_namespaces(plan, announce)
    with contextlib.suppress(OSError, ValueError):  # a lower one was inherited
        # A second line of defence: the host also ends a loader that takes too long, by the clock.
        resource.setrlimit(resource.RLIMIT_CPU, (int(request["cpu_s"]),) * 2)
    raise_lock_a(raised)
    raise_lock_b(raised)
    ready([asdict(row) for row in raised.rows])
    with socket.socket(fileno=DESCRIPTOR_FD) as control:
        Loader(control).serve()
    # Without interpreter shutdown: there is nothing to save, and it may free gigabytes page by page.
    os._exit(0)


class Loader:
    """Answers the host's requests, one at a time."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._told_at = time.monotonic()
        self._pass: Pass | None = None

    def serve(self) -> None:
        """Until the host closes its end, or the loading fails."""
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._control, DATAGRAM_BYTES, FILES_MAX)
            if not data:
                return
            self._control.send(self._answer(json.loads(data), descriptors))

    def _answer(self, request: dict[str, Any], descriptors: list[int]) -> bytes:
        if "begin" in request:
            self._pass = Pass(request["begin"], descriptors[0] if descriptors else None, self._tell)
            return b'{"begun": true}'
        if "json" in request:
            return json.dumps({"json": write_value(*descriptors)}).encode()
        if "hash" in request:
            return json.dumps({"hashed": hash_of(descriptors[0], int(request["hash"]), self._tell)}).encode()
        loading = self._pass
        assert loading is not None
        if "files" in request:
            rows: list[Any] = []
            for descriptor, (form, is_named) in zip(descriptors, request["files"], strict=True):
                rows.append(loading.file(descriptor, form, is_named=is_named))
                os.close(descriptor)
            return json.dumps({"files": rows}).encode()
        if "index" in request:
            return loading.rows(int(request["index"]), INDEX_ROWS)
        answer = (
            _spooled(loading, descriptors[0], int(request["spool"]))
            if "spool" in request
            else {"finished": loading.finish()}
        )
        return json.dumps(answer).encode()

    def _tell(self, read: int, made: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= TOLD_S:
            self._told_at = now
            self._control.send(json.dumps({"progress": [read, made]}).encode())


def _spooled(loading: Pass, descriptor: int, utf8_at: int) -> dict[str, int]:
    try:
        spooled, utf8 = loading.spool(descriptor, utf8_at)
    except Unreadable as error:
        return {"spooled": 0, "utf8": 0, "errno": error.number}
    return {"spooled": spooled, "utf8": utf8, "errno": 0}
