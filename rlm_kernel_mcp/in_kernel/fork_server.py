"""The fork server: one preloaded, single-threaded process that forks a kernel per request.

Is: the program behind `kernel/placement/forked.py`. Is not: a place for user code: the child raises its walls first. It
makes no zmq context, thread or event loop, since a fork would carry them broken into the child. Protocol:
`kernel/placement/forked.py`; the child then speaks `kernel/placement/local/startup_status.py`; this process adds
`{exit: code}`.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import json
import os
import platform
import random
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from rlm_kernel_mcp.in_kernel.inherited import forget_inherited_signals, settle_descriptors, silence_streams
from rlm_kernel_mcp.in_kernel.launch import announce, give_up, launch, parse_options, tell
from rlm_kernel_mcp.in_kernel.libraries import random_numbers
from rlm_kernel_mcp.in_kernel.libraries.one_thread import ThreadStarted, require_one_thread
from rlm_kernel_mcp.in_kernel.preload import ModuleMissing, preload
from rlm_kernel_mcp.in_kernel.walls import namespaces, syscalls
from rlm_kernel_mcp.in_kernel.walls.package_locations import outside_places

REQUEST_BYTES = 64 * 1024
RESERVED = 3
"""Two for what a request brings, and one to answer it."""
AGAIN_S = 0.1


def die_with_parent(parent: int) -> None:
    """SIGKILL when the parent ends; exit now if it has ended already."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the line above; then no signal will come.
    if os.getppid() != parent:
        os._exit(1)


class Reserve:
    """Descriptors held in reserve for what a request brings, so that a request at the limit can still be answered.

    Without them the operating system would drop the passed descriptors, among them the socket to report it on.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        self.hold()

    def hold(self) -> None:
        """Take them.

        Raises:
            OSError: the limit is reached.
        """
        while len(self._held) < RESERVED:
            self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def let_go(self) -> None:
        """Free them for what comes next."""
        while self._held:
            os.close(self._held.pop())


def serve(requests: socket.socket) -> NoReturn:
    """Fork a kernel per request until the host closes its end. A request that fails ends no other kernel."""
    reserve = Reserve()
    # A self-pipe: the C handler of SIGCHLD writes to it, so that select(2) wakes up without a race.
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    children: dict[int, socket.socket] = {}
    silence_streams()  # nobody reads these streams from now on, and a full pipe would hold up every start
    requests.send(b"ready")
    while True:
        readable, _, _ = select.select([requests.fileno(), wake_read], [], [])
        if wake_read in readable:
            # Emptied before reaping: a child that ends in between writes again, and none is missed.
            os.read(wake_read, 4096)
            _reap(children)
        if requests.fileno() in readable:
            answer(requests, reserve, children)


def answer(requests: socket.socket, reserve: Reserve, children: dict[int, socket.socket]) -> None:
    """Take one request and fork its kernel; `children` gets its pid and status socket."""
    reserve.let_go()
    try:
        data, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, 2)
    except ConnectionError:
        os._exit(0)
    except OSError:  # short of memory: the request is still there
        select.select([], [], [], AGAIN_S)
        return
    if not data:
        os._exit(0)  # the host is gone; the kernels follow by their parent-death signal
    own_pid = os.getpid()
    try:
        reserve.hold()
        if len(descriptors) < 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        pid = os.fork()
    except (OSError, MemoryError) as error:
        why = error.strerror if isinstance(error, OSError) else "out of memory"
        _refuse(descriptors, f"the fork server, which has {len(children):,} kernels, can make no other: {why}")
        return
    if pid == 0:
        _become_kernel(data, descriptors, own_pid)
    os.close(descriptors[1])
    children[pid] = socket.socket(fileno=descriptors[0])


def _refuse(descriptors: list[int], reason: str) -> None:
    """Report on the status socket, if it came, why there will be no kernel. Nobody reads standard error."""
    if descriptors:
        with contextlib.suppress(OSError), socket.socket(fileno=descriptors[0]) as status:
            status.send(json.dumps({"status": "failed", "reason": reason}).encode(), socket.MSG_DONTWAIT)
    for descriptor in descriptors[1:]:
        os.close(descriptor)


def _reap(children: dict[int, socket.socket]) -> None:
    while children:
        # Several ends may have come as one signal, so reap until nobody is left to reap.
        pid, wait_status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as status:
            try:
                status.send(json.dumps({"exit": os.waitstatus_to_exitcode(wait_status)}).encode(), socket.MSG_DONTWAIT)
            except OSError:
                continue  # the host no longer listens for this kernel


def _become_kernel(data: bytes, descriptors: list[int], parent: int) -> NoReturn:
    """In the child: leave everything of the fork server behind, then launch."""
    status_fd = descriptors[0]
    try:
        request: dict[str, Any] = json.loads(data)
        die_with_parent(parent)
        os.setsid()
        # The pipe is shared with the fork server: a SIGCHLD of this kernel must not wake that one.
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        silence_streams()
        status_fd = settle_descriptors(*descriptors)
        # The environment of the fork server is the host's: it may hold secrets.
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        # Otherwise all kernels would draw the same numbers: the state was seeded before the fork.
        random.seed()
        random_numbers.reseed()
        sys.argv = ["rlm-kernel"]
        options = parse_options([*request["argv"], "--status-fd", str(status_fd)])
        policy = json.loads(options.policy_file.read_text(encoding="utf-8"))
        if "loader" in request:
            become_loader(request["loader"], policy, status_fd)
    except BaseException as error:  # noqa: BLE001  (as in `launch`)
        give_up(status_fd, error)
    launch(options, policy)


def become_loader(request: dict[str, Any], policy: dict[str, Any], status_fd: int) -> NoReturn:
    """A process that reads a context, in place of a kernel."""
    from rlm_kernel_mcp.in_kernel.loader.process import load  # here: a kernel has none of it

    def ready(rows: Any) -> None:
        tell(status_fd, {"status": "ready", "walls": rows})
        os.close(status_fd)

    load(request, policy, lambda pid, pidfd: announce(status_fd, pid, pidfd), ready)


def main() -> NoReturn:
    """Preload, freeze what is shared, serve on standard input."""
    parser = argparse.ArgumentParser(prog="rlm-fork-server")
    parser.add_argument("--policy", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True)
    found = parser.parse_args()
    forget_inherited_signals()
    die_with_parent(found.parent)
    policy = json.loads(found.policy.read_text(encoding="utf-8"))
    try:
        preload(policy)
    except (ModuleMissing, ThreadStarted) as error:
        raise SystemExit(str(error)) from error  # the last line on standard error, which the host reads
    # What is found out here once, every fork knows: locations, system call numbers, whether there are namespaces.
    outside_places(policy["imports"]["mode"] == "any")
    with contextlib.suppress(KeyError):  # a machine for which there are no walls
        syscalls.syscall_numbers(platform.machine())
    namespaces.refusal()
    require_one_thread("the look at this machine")
    gc.collect()
    gc.freeze()  # so that shared pages stay shared: the collector does not touch them
    serve(socket.socket(fileno=os.dup(0)))


if __name__ == "__main__":
    main()
