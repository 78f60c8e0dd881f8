"""Attacks on other processes: making, signalling, limiting, reading them."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import struct
import subprocess
import sys
import time

from tests.escape.walls.program.targets import LIBC, Targets, raw

NUMBERS = {
    "x86_64": {
        "clone": 56, "tkill": 200, "rt_sigqueueinfo": 129, "process_vm_readv": 310, "process_vm_writev": 311,
        "sched_setscheduler": 144, "kcmp": 312, "ptrace": 101, "tgkill": 234,
        "futex": 202, "clock_nanosleep": 230,
    },
    "aarch64": {
        "clone": 220, "tkill": 130, "rt_sigqueueinfo": 138, "process_vm_readv": 270, "process_vm_writev": 271,
        "sched_setscheduler": 119, "kcmp": 272, "ptrace": 117, "tgkill": 131,
        "futex": 98, "clock_nanosleep": 115,
    },
}  # fmt: skip
CLONE3 = 435
FUTEX_LOCK_PI = 6
F_SETSIG, F_SETOWN_EX = 10, 15
CLONE_NEWUSER = 0x10000000


def fork(targets: Targets) -> None:
    if os.fork() == 0:
        os._exit(0)


def start_a_program(targets: Targets) -> bytes:
    return subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True).stdout


def spawn_a_program(targets: Targets) -> int:
    return os.posix_spawn("/bin/sh", ["sh", "-c", "true"], {})


def become_a_program(targets: Targets) -> None:
    os.execv(sys.executable, ["python", "-c", "print('become')"])


def ask_the_shell(targets: Targets) -> int:
    status = os.system("true")
    if status:
        raise OSError(errno.EPERM, "no shell")
    return status


def clone_a_process(targets: Targets) -> None:
    if raw(NUMBERS[targets.machine]["clone"], signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def clone_into_a_user_namespace(targets: Targets) -> None:
    if raw(NUMBERS[targets.machine]["clone"], signal.SIGCHLD | CLONE_NEWUSER, 0, 0, 0, 0) == 0:
        os._exit(0)


def clone3(targets: Targets) -> None:
    if raw(CLONE3, struct.pack("=11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0), 88) == 0:
        os._exit(0)


def signal_the_peer(targets: Targets) -> None:
    os.kill(targets.peer_pid, signal.SIGUSR1)


def signal_the_parent(targets: Targets) -> None:
    os.kill(os.getppid() or 1 << 20, 0)


def signal_its_group(targets: Targets) -> None:
    os.kill(0, 0)


def signal_everybody(targets: Targets) -> None:
    os.kill(-1, 0)  # signal 0: where the wall fails, the machine lives on


def signal_the_peers_thread(targets: Targets) -> None:
    raw(NUMBERS[targets.machine]["tgkill"], targets.peer_pid, targets.peer_pid, signal.SIGUSR1)


def signal_the_peers_thread_by_its_number(targets: Targets) -> None:
    raw(NUMBERS[targets.machine]["tkill"], targets.peer_pid, signal.SIGUSR1)


def queue_a_signal_for_the_peer(targets: Targets) -> None:
    raw(NUMBERS[targets.machine]["rt_sigqueueinfo"], targets.peer_pid, signal.SIGUSR1, bytes(128))


def open_a_handle_on_the_peer(targets: Targets) -> int:
    return os.pidfd_open(targets.peer_pid)


def signal_the_peer_by_a_descriptors_owner(targets: Targets) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    fcntl.fcntl(reader, fcntl.F_SETOWN, targets.peer_pid)
    os.write(writer, b"x")


def signal_the_peer_by_an_extended_owner(targets: Targets) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC)
    fcntl.fcntl(reader, F_SETOWN_EX, struct.pack("=ii", 1, targets.peer_pid))
    os.write(writer, b"x")


def choose_the_signal_of_a_descriptor(targets: Targets) -> None:
    reader, _ = os.pipe()
    fcntl.fcntl(reader, F_SETSIG, signal.SIGKILL)


def limit_the_peer(targets: Targets) -> None:
    resource.prlimit(targets.peer_pid, resource.RLIMIT_CPU, (1, 1))


def slow_the_peer_down(targets: Targets) -> None:
    raw(NUMBERS[targets.machine]["sched_setscheduler"], targets.peer_pid, 5, bytes(4))


def renice_the_peer(targets: Targets) -> None:
    os.setpriority(os.PRIO_PROCESS, targets.peer_pid, 19)


def pin_the_peer(targets: Targets) -> None:
    os.sched_setaffinity(targets.peer_pid, {0})


def trace_the_peer(targets: Targets) -> int:
    return raw(NUMBERS[targets.machine]["ptrace"], 16, targets.peer_pid, 0, 0)


def read_the_peers_memory(targets: Targets) -> int:
    vector = struct.pack("=QQ", 0, 0)
    return raw(NUMBERS[targets.machine]["process_vm_readv"], targets.peer_pid, vector, 1, vector, 1, 0)


def write_the_peers_memory(targets: Targets) -> int:
    vector = struct.pack("=QQ", 0, 0)
    return raw(NUMBERS[targets.machine]["process_vm_writev"], targets.peer_pid, vector, 1, vector, 1, 0)


def compare_with_the_peer(targets: Targets) -> int:
    return raw(NUMBERS[targets.machine]["kcmp"], os.getpid(), targets.peer_pid, 0, 0, 0)


def outlive_the_parent(targets: Targets) -> None:
    if LIBC.prctl(1, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])


def become_dumpable(targets: Targets) -> None:
    if LIBC.prctl(4, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])


def ask_for_the_peers_group(targets: Targets) -> int:
    return os.getpgid(targets.peer_pid)


def ask_for_the_peers_session(targets: Targets) -> int:
    return os.getsid(targets.peer_pid)


def ask_for_the_peers_processors(targets: Targets) -> set[int]:
    return os.sched_getaffinity(targets.peer_pid)


def read_the_peers_processor_time(targets: Targets) -> float:
    return time.clock_gettime(~targets.peer_pid << 3 | 2)


def ask_whether_the_peer_has_a_clock(targets: Targets) -> float:
    return time.clock_getres(~targets.peer_pid << 3 | 2)


def sleep_by_the_peers_processor_time(targets: Targets) -> int:
    nothing = struct.pack("=qq", 0, 0)
    return raw(NUMBERS[targets.machine]["clock_nanosleep"], ~targets.peer_pid << 3 | 2, 0, nothing, 0)


def ask_whether_the_peer_holds_a_lock(targets: Targets) -> int:
    """A lock with priority inheritance names its owner in memory; one that is not there is answered otherwise."""
    lock = struct.pack("=I", targets.peer_pid)
    try:
        return raw(NUMBERS[targets.machine]["futex"], lock, FUTEX_LOCK_PI, 0, struct.pack("=qq", 0, 0), 0, 0)
    except OSError as error:
        if error.errno == errno.ETIMEDOUT:
            return errno.ETIMEDOUT  # it is there
        raise


def lift_its_limit_of_processor_time(targets: Targets) -> None:
    _set_limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)


def lower_its_limit_of_descriptors(targets: Targets) -> None:
    _set_limit(resource.RLIMIT_NOFILE, 5)


def _set_limit(limit: int, value: int) -> None:
    try:
        resource.setrlimit(limit, (value, value))
    except ValueError as error:  # Python's word for EPERM
        raise PermissionError(errno.EPERM, "refused") from error
