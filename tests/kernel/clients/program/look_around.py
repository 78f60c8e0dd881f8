"""Runs as a step in a kernel that may import anything: what it has, sees and may do there, as one JSON text.

Wants `PLACES`, paths to try, and `CALLS`, `{name: [number, arguments]}`, bound before it; leaves `seen`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from typing import Any

PLACES: list[str] = globals()["PLACES"]
CALLS: dict[str, tuple[int, list[int]]] = globals()["CALLS"]
_libc = ctypes.CDLL(None, use_errno=True)


DEBUGGER = frozenset({"IPython.core.debugger", "IPython.core.debugger_backport", "cmd", "code", "pdb"})
"""What a person's kernel is offered beside (`RlmKernelApp.offer_debugger`), where every import is allowed."""


def _tried(act: Callable[[], Any]) -> str:
    try:
        found = act()
    except (OSError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__} {getattr(error, 'errno', '')}"
    if isinstance(found, int):
        os.close(found)
    return found if isinstance(found, str) else "ok"


def _call(number: int, arguments: list[int]) -> str:
    ctypes.set_errno(0)
    return "let through" if _libc.syscall(number, *arguments) >= 0 else f"errno {ctypes.get_errno()}"


def _place(path: str) -> dict[str, str]:
    made = path + "/made" if os.path.isdir(path) else path + ".made"
    return {
        "stat": _tried(lambda: stat.filemode(os.stat(path).st_mode)),
        "read": _tried(lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK)),
        "write": _tried(lambda: os.open(path, os.O_WRONLY | os.O_NONBLOCK)),
        "truncate": _tried(lambda: os.truncate(path, 0)),
        "list": _tried(lambda: os.listdir(path)),
        "make a file": _tried(lambda: os.open(made, os.O_CREAT | os.O_WRONLY, 0o600)),
        "rename": _tried(lambda: os.rename(made, made + "2")),
        "remove": _tried(lambda: os.unlink(made + "2")),
        "make a directory": _tried(lambda: os.mkdir(made + "d")),
        "link": _tried(lambda: os.symlink("x", made + "l")),
        "mode": _tried(lambda: os.chmod(path, 0o700)),
    }


def _descriptors() -> dict[int, str]:
    found = {}
    for number in range(256):
        try:
            found[number] = stat.filemode(os.fstat(number).st_mode)[0]
        except OSError:
            continue
    return found


def _look() -> dict[str, Any]:
    bounds = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    space = bounds.pop("RLIMIT_AS")
    first = _descriptors()
    return {
        "environment": dict(os.environ),
        "places": {path: _place(path) for path in PLACES},
        "system calls": {name: _call(*call) for name, call in CALLS.items()},
        "limits": bounds,
        "memory is bounded": [bound > 0 for bound in space],
        "streams and sockets": {number: first.get(number) for number in range(5)},
        "descriptors but connections": sorted(kind for kind in first.values() if kind != "s"),
        "signals": {
            str(number): str(signal.getsignal(number)).partition(" at 0x")[0] for number in signal.valid_signals()
        },
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "ids": [os.getuid(), os.getgid(), os.getgroups(), os.getpid() == 1, os.getpgid(0) == os.getpid()],
        "name": os.uname().nodename,
        "directory": os.getcwd(),
        "path": sys.path,
        "flags": str(sys.flags),
        "arguments": sys.argv,
        "threads": threading.active_count(),
        "modules": sorted(set(sys.modules) - DEBUGGER),
        "root": _tried(lambda: " ".join(sorted(os.listdir("/")))),
        "a socket": _tried(lambda: socket.socket().close()),
    }


seen = json.dumps(_look())
