"""The fork server: one preloaded, single-threaded process that forks a kernel per request.

Is: the program behind `kernel/fork_server.py`. Is not: a place for user code: the child raises its walls first.
It makes no zmq context, thread or event loop, since a fork would carry them broken into the child.
Protocol: `kernel/fork_server.py`; the child then speaks `kernel/status.py`; this process adds `{exit: code}`.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import gc
import json
import os
import random
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from rlm_kernel_mcp.in_kernel.launch import give_up, launch, parse_options
from rlm_kernel_mcp.in_kernel.preload import preload
from rlm_kernel_mcp.in_kernel.walls import namespaces
from rlm_kernel_mcp.in_kernel.walls.outside import outside_places

PR_SET_PDEATHSIG = 1
REQUEST_BYTES = 64 * 1024
STATUS_FD = 3
DESCRIPTOR_FD = 4
HIGH_FD = 64


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent goes; exit now if it has gone already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def serve(requests: socket.socket) -> NoReturn:
    """Fork a kernel per request until the host closes its end."""
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    children: dict[int, socket.socket] = {}
    requests.send(b"ready")
    while True:
        readable, _, _ = select.select([requests.fileno(), wake_read], [], [])
        if wake_read in readable:
            os.read(wake_read, 4096)
            _reap(children)
        if requests.fileno() in readable:
            data, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 2)
            if not data:
                os._exit(0)  # the host is gone; the kernels follow by their parent-death signal
            status = socket.socket(fileno=descriptors[0])
            own_pid = os.getpid()
            pid = os.fork()
            if pid == 0:
                _become_kernel(json.loads(data), descriptors, own_pid)
            os.close(descriptors[1])
            children[pid] = status


def _reap(children: dict[int, socket.socket]) -> None:
    while children:
        pid, wait_status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as status:
            try:
                status.send(json.dumps({"exit": os.waitstatus_to_exitcode(wait_status)}).encode())
            except OSError:
                continue  # the host no longer listens for this kernel


def _become_kernel(request: dict[str, Any], descriptors: list[int], parent: int) -> NoReturn:
    """In the child: leave everything of the fork server behind, then launch."""
    status_fd = descriptors[0]
    try:
        die_with_parent(parent)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        # Out of the way first: a descriptor must not be overwritten before it is copied.
        status, passed = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, HIGH_FD) for descriptor in descriptors]
        for target, source in ((0, null), (1, null), (2, null), (STATUS_FD, status), (DESCRIPTOR_FD, passed)):
            os.dup2(source, target)
        status_fd = STATUS_FD
        os.closerange(DESCRIPTOR_FD + 1, 4096)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        random.seed()
        sys.argv = ["rlm-kernel"]
        options = parse_options([*request["argv"], "--status-fd", str(STATUS_FD)])
        policy = json.loads(options.policy_file.read_text(encoding="utf-8"))
    except BaseException as error:  # noqa: BLE001  (as in `launch`)
        give_up(status_fd, error)
    launch(options, policy)


def main() -> NoReturn:
    """Preload, freeze what is shared, serve on standard input."""
    parser = argparse.ArgumentParser(prog="rlm-fork-server")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    found = parser.parse_args()
    die_with_parent(found.parent)
    policy = json.loads(found.policy.read_text(encoding="utf-8"))
    preload(policy)
    outside_places(policy["imports"]["mode"] == "any")  # looked for once here, as is the next
    namespaces.refusal()  # tried once here: every fork remembers that they are given
    gc.collect()
    gc.freeze()  # shared pages stay shared: the collector does not touch them
    serve(socket.socket(fileno=os.dup(0)))


if __name__ == "__main__":
    main()
