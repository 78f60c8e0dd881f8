"""The program of a warm Python: runs its argument, which imports, and forks a process for each request on descriptor 0.

Is: the other end of `python.py`, with the standard library alone. Is not: the fork server of kernels, which is the
product's. Protocol: a request is a JSON object with four descriptors: the streams, and a status socket, to which go the
number of the process and, when it has ended, its exit code.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import termios
import threading
from collections.abc import Sequence
from typing import Any, Final, NoReturn

REQUEST_BYTES: Final = 1 << 20


def _serve(requests: socket.socket) -> list[str]:
    """Fork a process for each request; returns in it, with its arguments. Ends with the other end of the socket."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    statuses: dict[int, socket.socket] = {}
    while True:
        readable, _, _ = select.select([requests.fileno(), wake_read], [], [])
        if wake_read in readable:
            os.read(wake_read, 4096)
            _reap(statuses)
        if requests.fileno() in readable:
            data, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 4)
            if not data:
                os._exit(0)
            status = socket.socket(fileno=descriptors[3])
            if (pid := os.fork()) == 0:
                for one in (requests, status, *statuses.values()):
                    one.detach()  # closed with all others
                return _become(json.loads(data), descriptors[:3])
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            status.send(b"%d" % pid)
            statuses[pid] = status


def _reap(statuses: dict[int, socket.socket]) -> None:
    while statuses:
        pid, wait_status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with statuses.pop(pid) as status, contextlib.suppress(OSError):  # nobody may wait for it any more
            status.send(b"%d" % os.waitstatus_to_exitcode(wait_status))


def _become(asked: dict[str, Any], descriptors: Sequence[int]) -> list[str]:
    """In the child: leave everything of the parent's behind; returns the arguments of its program."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 1_024)
    if asked["kind"] != "program":
        os.setsid()
    if asked["kind"] == "terminal":
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # A shell's background job, as which the tests may run, ignores it; what a terminal starts does not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["kind"] != "daemon":
        os.execv = _become_in_place  # type: ignore[assignment]
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    tempfile.tempdir = None  # found by the environment
    _renew_streams()
    return list(asked["arguments"])


def _renew_streams() -> None:
    """As Python makes them at its start; whether one is a terminal is found out then."""
    errors = sys.stdout.errors
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8", errors)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _writing(1, errors)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _writing(2, "backslashreplace")  # type: ignore[misc]


def _writing(descriptor: int, errors: str | None) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), "utf-8", errors, line_buffering=descriptor == 2 or os.isatty(descriptor)
    )


def _run(arguments: Sequence[str]) -> None:
    """As Python does with these arguments behind `-I`."""
    option, *rest = arguments
    if option == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = list(arguments)
        runpy.run_path(option, run_name="__main__")


_execv: Final = os.execv


def _become_in_place(path: str, arguments: list[str]) -> NoReturn:
    """In place of `os.execv`, by which a command becomes another Python program: that has its imports as well.

    A front is looked at by its host, and so it is a process that was started as one.
    """
    if arguments[:3] == [sys.executable, "-I", "-S"]:
        _execv(path, arguments)
    assert (path, arguments[0]) == (sys.executable, sys.executable), arguments
    assert arguments[1] in ("-I", "-P"), arguments
    _run(arguments[2:])
    raise SystemExit(0)


def main(imports: str) -> None:
    """Run the code that imports what programs will need, and serve."""
    requests = socket.socket(fileno=os.dup(0))
    exec(compile(imports, "<imports>", "exec"), {})
    assert threading.active_count() == 1, "a fork would carry its threads along broken"
    gc.collect()
    gc.freeze()  # so that shared pages stay shared
    _run(_serve(requests))


if __name__ == "__main__":
    main(sys.argv[1])
