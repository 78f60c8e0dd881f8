"""Namespaces: users, mounts, network, pids and ipc of the kernel's own, and the monitor beside it. A wall.

Is: unshare(2), the fork into the new pid namespace, and what the parent of that fork does until the kernel ends.
Is not: the view of files (`mounts.py`). Above: `raising.py`, a fork server (`refusal`). Below: `syscalls.py`,
`in_kernel/walls/filters/seccomp.py`, `landlock.py`, `capabilities.py`, which confine the monitor too.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import struct
import traceback
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Final, NoReturn

from rlm_kernel_mcp.in_kernel.walls import capabilities, landlock, mounts, syscalls
from rlm_kernel_mcp.in_kernel.walls.filters import seccomp
from rlm_kernel_mcp.in_kernel.walls.plan import WallPlan

Announce = Callable[[int, int], None]
"""Takes the kernel's pid in the caller's pid namespace, and a pidfd of it that is closed after the call."""

_NEWUSER: Final = 0x10000000
ALL: Final = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | _NEWUSER | 0x20000000 | 0x40000000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
INSIDE_ID: Final = 65532
"""The user and group id that the kernel has inside, and that own its files there."""
RELAYED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
MONITOR_FAILED: Final = 70
STDERR: Final = 2

_BOUND: Final = b"b"
# Not empty once a trial has succeeded; a fork inherits it.
_given: list[bool] = []


def refusal() -> str:
    """Why this machine does not let this process have namespaces; empty if it does.

    A child tries it for real. Success is remembered, by later forks too; after a refusal it is tried again, since that
    may have been temporary (too many namespaces).
    """
    if not _given:
        reason = _try_in_child()
        if reason:
            return reason
        _given.append(True)
    return ""


def _try_in_child() -> str:
    reader, writer = os.pipe()
    inherited = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, the child could not be waited for
    child = os.fork()
    if child == 0:
        # `os._exit` whatever happens: this copy of the parent must not return into the parent's code.
        try:
            os.write(writer, _try_namespaces().encode()[:512])
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        reason = answer.read().decode()
    _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGCHLD, inherited)
    return reason if status == 0 else f"the trial ended with wait status {status}"


def enter(plan: WallPlan, announce: Announce) -> tuple[int, int]:
    """Fork into new namespaces; returns in the kernel only, which is pid 1 there.

    The caller becomes the monitor, outside the pid namespace, and never returns. It is what calls `announce`.

    Returns:
        The kernel's end of the socket to its monitor (see `sockets_bound`), and how many paths are in view.

    Raises:
        OSError: the operating system refused a call; this process is of no further use then.
    """
    ids = os.getuid(), os.getgid()
    syscalls.call("unshare", ALL)
    _map_identity(*ids)
    with suppress(OSError):  # podman's filter forbids this call alone; the container's name is visible then
        syscalls.call("sethostname", b"kernel", 6)
    places = mounts.enter_view(plan)
    kernel_end, monitor_end = _socketpair()
    # Until the monitor has its handlers: the default action of a signal would end it, and the kernel with it.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, RELAYED)
    child = os.fork()
    if child:
        _monitor(plan, child, monitor_end, announce)
    # Before anything else, so that the kernel never outlives its monitor. One that ended before this line is noticed in
    # `sockets_bound` (EPIPE); getppid(2) would not tell, since it is 0 in here either way.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(monitor_end)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return kernel_end, places


def enter_a_user_namespace() -> bool:
    """Put this process into a user namespace alone, where only its threads are counted; whether that was possible.

    Machines that forbid mounts in a user namespace often allow the namespace itself. The process keeps its user id.
    """
    ids = os.getuid(), os.getgid()
    try:
        syscalls.call("unshare", _NEWUSER)
    except OSError:
        return False
    with suppress(OSError):  # without the mapping it would see itself as `nobody`
        _map_identity(*ids, *ids)
    return True


def sockets_bound(kernel_end: int) -> None:
    """Ask the monitor to make the sockets directory read-only; returns once it is, and the monitor is confined.

    Raises:
        OSError: the monitor could not do it, or is gone.
    """
    os.write(kernel_end, _BOUND)
    answer = os.read(kernel_end, 4)
    os.close(kernel_end)
    number = struct.unpack("=i", answer)[0] if len(answer) == 4 else errno.EPIPE
    if number:
        raise OSError(number, f"the sockets directory cannot be made read-only: {os.strerror(number)}")


def _try_namespaces() -> str:
    ids = os.getuid(), os.getgid()
    try:
        syscalls.call("unshare", ALL)
        _map_identity(*ids)
        mounts.try_mount()
    except OSError as error:
        return f"{error.strerror}."
    return ""


def _map_identity(uid: int, gid: int, inside_uid: int = INSIDE_ID, inside_gid: int = INSIDE_ID) -> None:
    # Without privileges, a gid may be mapped only after setgroups(2) is denied (user_namespaces(7)).
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/uid_map", b"%d %d 1" % (inside_uid, uid))
    _write("/proc/self/gid_map", b"%d %d 1" % (inside_gid, gid))


def _write(path: str, data: bytes) -> None:
    """Write a file in one write(2). `Path.write_text` would copy 0.8 MB of pages that a fork shares with its server."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _socketpair() -> tuple[int, int]:
    kernel_end, monitor_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return kernel_end.detach(), monitor_end.detach()


def _monitor(plan: WallPlan, kernel: int, monitor_end: int, announce: Announce) -> NoReturn:
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != plan.parent_pid:  # the parent ended before the line above, so no signal will come
            os._exit(MONITOR_FAILED)
        pidfd = os.pidfd_open(kernel)
        announce(kernel, pidfd)
        _close_all_but(STDERR, monitor_end, pidfd)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if inherited as ignored, there would be no exit status
        for number in RELAYED:
            signal.signal(number, lambda received, _frame: _relay(pidfd, received))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        asked = os.read(monitor_end, 1) == _BOUND
        answer = struct.pack("=i", _make_read_only(plan.socket_dir) if asked else errno.EPIPE)
        _leave_stderr()
        _give_up_rights(pidfd)
        if asked:  # last: the kernel waits for this, so that no user code runs beside a monitor that still has rights
            os.write(monitor_end, answer)
        os.close(monitor_end)
        _, status = os.waitpid(kernel, 0)
        _end_as(os.waitstatus_to_exitcode(status))
    except BaseException:
        traceback.print_exc()  # nothing else tells of a failed start; the monitor ends, and its kernel with it
        raise
    finally:
        os._exit(MONITOR_FAILED)


def _leave_stderr() -> None:
    """Point stderr at /dev/null: once the kernel is ready, the monitor must not write to a cold start's error file."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, STDERR)
    os.close(null)


def _relay(pidfd: int, number: int) -> None:
    # By pidfd, so that a pid that was used again is never signalled.
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def _make_read_only(socket_dir: str) -> int:
    try:
        mounts.set_attributes(socket_dir, mounts.RDONLY)
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _give_up_rights(pidfd: int) -> None:
    """Confine the monitor as far as the machine can; what the machine lacks, the kernel's own rows report."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for step in (
        lambda: syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1),
        capabilities.drop_all,
        lambda: syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0),
        lambda: landlock.restrict((), behind_namespaces=True, may_signal=True),
        lambda: seccomp.load_monitor(os.getpid(), pidfd),  # last: it refuses what the others call
    ):
        with suppress(OSError):
            step()


def _close_all_but(*kept: int) -> None:
    end = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for first, last in pairwise((-1, *sorted(kept), end)):
        os.closerange(first + 1, last)


def _end_as(code: int) -> NoReturn:
    """End with the kernel's exit code, or by the signal that ended it, so that the parent sees the same end."""
    if code < 0:
        # A handler that relays would catch the signal that is to end this process.
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
        os._exit(128 - code)  # the signal did not end this process; a shell would report it so
    os._exit(code)
