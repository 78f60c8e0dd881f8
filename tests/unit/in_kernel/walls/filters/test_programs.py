"""What the filters let through, call by call, on both machines and in both stages."""

from __future__ import annotations

import errno
import json
import struct

import pytest

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.filters import bpf
from rlm_kernel_mcp.in_kernel.walls.filters import programs as filters
from tests.parts import ROOT
from tests.unit.in_kernel.walls.bpf_machine import answer, kernel_filter

MACHINES = ("x86_64", "aarch64")
PID = 4242
ELSEWHERE = 5151
ADDRESS = 0x7FFF_1234_5678

REFUSED: dict[str, dict[str, int]] = json.loads(
    (ROOT / "tests" / "escape" / "walls" / "program" / "refused_calls.json").read_text("ascii")
)
"""Machine to name to number of calls that are refused always, and for which the package has no use."""

CLONE_OF_A_PROCESS = 0x01200011
CLONE_NEWUSER = 0x10000000


def decide(machine: str, stage: filters.Stage, call: str, *arguments: int) -> int:
    """What a kernel's filter answers to a call that the package knows by name."""
    number = syscalls.syscall_numbers(machine)[call]
    return answer(kernel_filter(machine, stage, PID), syscalls.audit_arch(machine), number, *arguments)


@pytest.mark.parametrize("stage", ["A", "B"])
@pytest.mark.parametrize(("machine", "call"), [(machine, call) for machine in MACHINES for call in REFUSED[machine]])
def test_a_call_without_use_is_refused(machine: str, call: str, stage: filters.Stage) -> None:
    """Whatever its arguments are: nothing of it is looked at."""
    program, number = kernel_filter(machine, stage, PID), REFUSED[machine][call]
    assert answer(program, syscalls.audit_arch(machine), number, 1, 1, 1, 1, 1, 1) == bpf.REFUSE
    assert answer(program, syscalls.audit_arch(machine), number) == bpf.REFUSE


OWN, STREAM, DGRAM = PID, 1, 2
DECISIONS: dict[str, tuple[str, str, tuple[int, ...], int]] = {
    "a thread": ("AB", "clone", (0x3D0F00,), bpf.ALLOW),
    "a thread of musl": ("AB", "clone", (0x7D0F00,), bpf.ALLOW),
    "a process": ("AB", "clone", (CLONE_OF_A_PROCESS,), bpf.REFUSE),
    "a thread in a new user namespace": ("AB", "clone", (0x3D0F00 | CLONE_NEWUSER,), bpf.REFUSE),
    "clone3, whose flags cannot be read": ("AB", "clone3", (ADDRESS, 88), bpf.UNKNOWN),
    "a signal to itself": ("AB", "kill", (OWN, 2), bpf.ALLOW),
    "a signal to its own group": ("AB", "kill", (-OWN, 2), bpf.ALLOW),
    "a signal to another process": ("AB", "kill", (ELSEWHERE, 2), bpf.REFUSE),
    "a signal to everybody": ("AB", "kill", (-1, 2), bpf.REFUSE),
    "a signal to the caller's group, whoever is in it": ("AB", "kill", (0, 2), bpf.REFUSE),
    "a signal to an own thread": ("AB", "tgkill", (OWN, 99, 2), bpf.ALLOW),
    "a signal to another's thread": ("AB", "tgkill", (ELSEWHERE, 99, 2), bpf.REFUSE),
    "its own limits by 0": ("AB", "prlimit64", (0, 9, ADDRESS, 0), bpf.ALLOW),
    "its own limits by pid": ("AB", "prlimit64", (OWN, 9, ADDRESS, 0), bpf.ALLOW),
    "another's limits": ("AB", "prlimit64", (ELSEWHERE, 9, ADDRESS, 0), bpf.REFUSE),
    "a path stream socket": ("A", "socket", (1, STREAM | 0o2004000, 0), bpf.ALLOW),
    "a path stream socket for user code": ("B", "socket", (1, STREAM, 0), bpf.REFUSE),
    "a path datagram socket": ("AB", "socket", (1, DGRAM, 0), bpf.REFUSE),
    "tcp": ("AB", "socket", (2, STREAM, 0), bpf.REFUSE),
    "multipath tcp": ("AB", "socket", (2, STREAM, 262), bpf.REFUSE),
    "udp": ("AB", "socket", (10, DGRAM, 0), bpf.REFUSE),
    "netlink": ("AB", "socket", (16, 3, 0), bpf.REFUSE),
    "vsock": ("AB", "socket", (40, STREAM, 0), bpf.REFUSE),
    "a stream pair": ("AB", "socketpair", (1, STREAM | 0o2000000, 0, ADDRESS), bpf.ALLOW),
    "a datagram pair, which sendto(path) re-aims": ("AB", "socketpair", (1, DGRAM, 0, ADDRESS), bpf.REFUSE),
    "a seqpacket pair": ("AB", "socketpair", (1, 5, 0, ADDRESS), bpf.REFUSE),
    "bytes to a peer": ("AB", "sendto", (5, ADDRESS, 8, 0x4000, 0, 0), bpf.ALLOW),
    "bytes to an address": ("AB", "sendto", (5, ADDRESS, 8, 0, ADDRESS, 16), bpf.REFUSE),
    "bytes to an address above 4 GB with a lower word of 0": ("AB", "sendto", (5, 1, 8, 0, 1 << 33, 16), bpf.REFUSE),
    "tcp fast open": ("AB", "sendto", (5, ADDRESS, 8, 0x20000000, 0, 0), bpf.REFUSE),
    "receiving descriptors": ("AB", "recvmsg", (5, ADDRESS, 0), bpf.ALLOW),
    "accept": ("AB", "accept4", (5, 0, 0, 0), bpf.ALLOW),
    "connect before user code": ("A", "connect", (5, ADDRESS, 16), bpf.ALLOW),
    "connect": ("B", "connect", (5, ADDRESS, 16), bpf.REFUSE),
    "bind": ("B", "bind", (5, ADDRESS, 16), bpf.REFUSE),
    "listen": ("B", "listen", (5, 8), bpf.REFUSE),
    "setsockopt, which attaches filters": ("B", "setsockopt", (5, 1, 26, ADDRESS, 16), bpf.REFUSE),
    "SO_TYPE": ("AB", "getsockopt", (5, 1, 3, ADDRESS, ADDRESS), bpf.ALLOW),
    "SO_PEERPIDFD": ("AB", "getsockopt", (5, 1, 77, ADDRESS, ADDRESS), bpf.REFUSE),
    "an option of another level": ("AB", "getsockopt", (5, 6, 3, ADDRESS, ADDRESS), bpf.REFUSE),
    "another filter": ("B", "seccomp", (1, 0, ADDRESS), bpf.REFUSE),
    "F_SETFL": ("AB", "fcntl", (5, 4, 0x800), bpf.ALLOW),
    "F_DUPFD_CLOEXEC": ("AB", "fcntl", (5, 1030, 0), bpf.ALLOW),
    "F_SETOWN: SIGIO to anybody": ("AB", "fcntl", (5, 8, ELSEWHERE), bpf.REFUSE),
    "F_SETSIG": ("AB", "fcntl", (5, 10, 9), bpf.REFUSE),
    "F_SETOWN_EX": ("AB", "fcntl", (5, 15, ADDRESS), bpf.REFUSE),
    "F_SETLK: locks without number": ("AB", "fcntl", (5, 6, ADDRESS), bpf.REFUSE),
    "F_OFD_SETLK": ("AB", "fcntl", (5, 37, ADDRESS), bpf.REFUSE),
    "F_SETLEASE": ("AB", "fcntl", (5, 1024, 1), bpf.REFUSE),
    "F_SETPIPE_SZ": ("AB", "fcntl", (5, 1031, 1 << 20), bpf.REFUSE),
    "isatty": ("AB", "ioctl", (1, 0x5401, ADDRESS), bpf.ALLOW),
    "TIOCSTI": ("AB", "ioctl", (0, 0x5412, ADDRESS), bpf.REFUSE),
    "TIOCLINUX": ("AB", "ioctl", (0, 0x541C, ADDRESS), bpf.REFUSE),
    "FIOASYNC": ("AB", "ioctl", (5, 0x5452, ADDRESS), bpf.REFUSE),
    "a thread's name": ("AB", "prctl", (15, ADDRESS), bpf.ALLOW),
    "PR_SET_DUMPABLE": ("AB", "prctl", (4, 1), bpf.REFUSE),
    "PR_SET_PDEATHSIG": ("AB", "prctl", (1, 0), bpf.REFUSE),
    "PR_SET_PTRACER": ("AB", "prctl", (0x59616D61, -1), bpf.REFUSE),
    "writable memory": ("AB", "mmap", (0, 4096, 3, 0x22, -1, 0), bpf.ALLOW),
    "a library": ("A", "mmap", (0, 4096, 5, 2, 5, 0), bpf.ALLOW),
    "a library for user code": ("B", "mmap", (0, 4096, 5, 2, 5, 0), bpf.REFUSE),
    "writable and executable memory": ("AB", "mmap", (0, 4096, 7, 0x22, -1, 0), bpf.REFUSE),
    "huge pages, a pool of the machine's": ("AB", "mmap", (0, 1 << 21, 3, 0x40022, -1, 0), bpf.REFUSE),
    "memory made executable before user code": ("A", "mprotect", (ADDRESS, 4096, 5), bpf.ALLOW),
    "memory made executable": ("B", "mprotect", (ADDRESS, 4096, 4), bpf.REFUSE),
    "memory made writable and executable": ("AB", "mprotect", (ADDRESS, 4096, 6), bpf.REFUSE),
    "a batch scheduler for libzmq's threads": ("A", "sched_setscheduler", (77, 3, ADDRESS), bpf.ALLOW),
    "a real-time scheduler": ("AB", "sched_setscheduler", (0, 1, ADDRESS), bpf.REFUSE),
    "a scheduler for user code": ("B", "sched_setscheduler", (ELSEWHERE, 5, ADDRESS), bpf.REFUSE),
    "its own limits, looked at": ("AB", "prlimit64", (0, 0, 0, ADDRESS), bpf.ALLOW),
    "its own limit of memory, moved": ("AB", "prlimit64", (0, 9, ADDRESS, 0), bpf.ALLOW),
    "its own limit of processor time, lifted": ("AB", "prlimit64", (0, 0, ADDRESS, 0), bpf.REFUSE),
    "its own limit of descriptors, lowered": ("AB", "prlimit64", (OWN, 7, ADDRESS, 0), bpf.REFUSE),
    "a limit at an address with a lower word of 0": ("AB", "prlimit64", (0, 0, 1 << 33, 0), bpf.REFUSE),
    "its own group": ("AB", "getpgid", (0,), bpf.ALLOW),
    "its own group by number": ("AB", "getpgid", (OWN,), bpf.ALLOW),
    "another's group": ("AB", "getpgid", (ELSEWHERE,), bpf.REFUSE),
    "its own session": ("AB", "getsid", (OWN,), bpf.ALLOW),
    "another's session": ("AB", "getsid", (ELSEWHERE,), bpf.REFUSE),
    "its own processors": ("AB", "sched_getaffinity", (0, 128, ADDRESS), bpf.ALLOW),
    "another's processors": ("B", "sched_getaffinity", (ELSEWHERE, 128, ADDRESS), bpf.REFUSE),
    "the machine's clock": ("AB", "clock_gettime", (1, ADDRESS), bpf.ALLOW),
    "its own processor time": ("AB", "clock_gettime", (2, ADDRESS), bpf.ALLOW),
    "its own processor time by 0": ("AB", "clock_gettime", (~0 << 3 | 2, ADDRESS), bpf.ALLOW),
    "its own processor time by number": ("AB", "clock_gettime", (~OWN << 3 | 2, ADDRESS), bpf.ALLOW),
    "an own thread's processor time": ("AB", "clock_gettime", (~99 << 3 | 6, ADDRESS), bpf.ALLOW),
    "another's processor time": ("AB", "clock_gettime", (~ELSEWHERE << 3 | 2, ADDRESS), bpf.REFUSE),
    "another's time in user code": ("AB", "clock_gettime", (~ELSEWHERE << 3 | 1, ADDRESS), bpf.REFUSE),
    "a clock behind a descriptor": ("AB", "clock_gettime", (~5 << 3 | 3, ADDRESS), bpf.REFUSE),
    "another's clock's resolution": ("AB", "clock_getres", (~ELSEWHERE << 3 | 2, 0), bpf.REFUSE),
    "sleep": ("AB", "clock_nanosleep", (1, 0, ADDRESS, 0), bpf.ALLOW),
    "sleep by another's processor time": ("AB", "clock_nanosleep", (~ELSEWHERE << 3 | 2, 0, ADDRESS), bpf.REFUSE),
    "a lock among threads": ("AB", "futex", (ADDRESS, 0x189, 0), bpf.ALLOW),
    "a wake": ("AB", "futex", (ADDRESS, 0x81, 1), bpf.ALLOW),
    "a lock whose owner is named by number": ("AB", "futex", (ADDRESS, 6, 0), bpf.REFUSE),
    "a private lock whose owner is named by number": ("AB", "futex", (ADDRESS, 0x8D, 0), bpf.REFUSE),
    "advice to read ahead": ("AB", "fadvise64", (5, 0, 0, 3), bpf.ALLOW),
    "advice to drop what is cached of a file": ("AB", "fadvise64", (5, 0, 0, 4), bpf.REFUSE),
    "memory that is not needed": ("AB", "madvise", (ADDRESS, 4096, 4), bpf.ALLOW),
    "memory in huge pages": ("AB", "madvise", (ADDRESS, 1 << 21, 14), bpf.ALLOW),
    "a library's pages put out, for others too": ("AB", "madvise", (ADDRESS, 4096, 21), bpf.REFUSE),
    "memory merged with that of others": ("AB", "madvise", (ADDRESS, 4096, 12), bpf.REFUSE),
    "a poisoned page": ("AB", "madvise", (ADDRESS, 4096, 100), bpf.REFUSE),
    "a lock on a whole file": ("AB", "flock", (5, 2), bpf.REFUSE),
    "a shared lock on a whole file": ("AB", "flock", (5, 1), bpf.REFUSE),
    "F_NOTIFY": ("AB", "fcntl", (5, 1026, 1), bpf.REFUSE),
    "openat2": ("AB", "openat2", (-100, ADDRESS, ADDRESS, 24), bpf.UNKNOWN),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("stages", "call", "arguments", "expected"), DECISIONS.values(), ids=DECISIONS)
def test_a_call_is_decided_by_its_arguments(
    machine: str, stages: str, call: str, arguments: tuple[int, ...], expected: int
) -> None:
    """In the stages named: A while the kernel starts, B while user code runs."""
    for stage in ("A", "B"):
        if stage in stages:
            assert decide(machine, stage, call, *arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_stage_b_lets_nothing_through_that_stage_a_refuses(machine: str) -> None:
    """Filters add up: what A refuses, B cannot give back, so a difference would be a mistake in one of them."""
    a, b = (filters.kernel_filter(machine, stage, PID) for stage in ("A", "B"))
    arch = syscalls.audit_arch(machine)
    for number in range(512):
        for argument in (0, 1, PID, 0x3D0F00):
            allowed_b = answer(b, arch, number, argument, 1, 1) == bpf.ALLOW
            assert not allowed_b or answer(a, arch, number, argument, 1, 1) == bpf.ALLOW


def test_in_a_pid_namespace_of_its_own_the_kernel_cannot_signal_everybody() -> None:
    """As pid 1 its own group would be -1, which means every process."""
    program = filters.kernel_filter("x86_64", "B", 1)
    kill = syscalls.syscall_numbers("x86_64")["kill"]
    assert answer(program, syscalls.audit_arch("x86_64"), kill, 1, 2) == bpf.ALLOW
    assert answer(program, syscalls.audit_arch("x86_64"), kill, -1, 2) == bpf.REFUSE


@pytest.mark.parametrize("machine", MACHINES)
def test_a_monitor_can_wait_signal_its_kernel_and_end_and_nothing_else(machine: str) -> None:
    """By the pidfd that it holds, or itself; it opens, makes and reads nothing new."""
    program, numbers = filters.monitor_filter(machine, PID, 5), syscalls.syscall_numbers(machine)

    def decided(call: str, *arguments: int) -> int:
        return answer(program, syscalls.audit_arch(machine), numbers[call], *arguments)

    assert decided("pidfd_send_signal", 5, 2) == bpf.ALLOW
    assert decided("pidfd_send_signal", 6, 2) == bpf.REFUSE
    assert decided("kill", PID, 9) == bpf.ALLOW
    assert decided("kill", ELSEWHERE, 9) == bpf.REFUSE
    assert decided("wait4", -1) == bpf.ALLOW
    for call in ("openat", "socket", "clone", "connect", "prctl", "mkdirat", "recvmsg", "accept4"):
        assert decided(call, 0x3D0F00, 1, 1) == bpf.REFUSE


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("threads", [(77, 78), None], ids=["among other processes", "alone"])
def test_a_thread_of_libzmq_that_comes_late_may_still_set_its_scheduler(
    machine: str, threads: tuple[int, ...] | None
) -> None:
    """On a busy machine a thread's first lines run after stage B is loaded, and libzmq aborts where they are refused.

    Where others have numbers too, only the threads that there were: nobody else's scheduler is seen or set.
    """
    program, numbers = filters.kernel_filter(machine, "B", PID, threads=threads), syscalls.syscall_numbers(machine)

    def decided(call: str, *arguments: int) -> int:
        return answer(program, syscalls.audit_arch(machine), numbers[call], *arguments)

    for call in ("sched_getparam", "sched_getscheduler"):
        assert decided(call, 78, ADDRESS) == bpf.ALLOW
        assert decided(call, ELSEWHERE, ADDRESS) == (bpf.ALLOW if threads is None else bpf.REFUSE)
    assert decided("sched_setscheduler", 78, 0, ADDRESS) == bpf.ALLOW
    assert decided("sched_setscheduler", 78, 1, ADDRESS) == bpf.REFUSE
    assert decided("sched_setscheduler", ELSEWHERE, 0, ADDRESS) == (bpf.ALLOW if threads is None else bpf.REFUSE)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_has_a_size_that_the_kernel_takes_twice(machine: str) -> None:
    """BPF_MAXINSNS is 4096 a filter; both stages stand on one thread, and each costs on every call."""
    assert len(bpf.pack(filters.kernel_filter(machine, "B", PID, threads=range(16)))) // struct.calcsize("=HBBI") < 512


def test_refusal_is_eperm_and_absence_enosys() -> None:
    """Libraries fall back on ENOSYS; EPERM is what a program is shown."""
    assert (bpf.REFUSE & 0xFFFF, bpf.UNKNOWN & 0xFFFF) == (errno.EPERM, errno.ENOSYS)


def test_another_machine_has_no_filter() -> None:
    """Its numbers would mean other calls."""
    with pytest.raises(KeyError):
        filters.kernel_filter("riscv64", "A", PID)


LIBRARIES = {
    "a library": ((0, 4096, 5, 0x812, 5, 0), bpf.ALLOW),
    "a library's data": ((0, 4096, 3, 0x812, 5, 0), bpf.ALLOW),
    "a file that is writable and executable": ((0, 4096, 7, 2, 5, 0), bpf.REFUSE),
    "executable memory without a file": ((0, 4096, 5, 0x22, -1, 0), bpf.REFUSE),
    "executable memory without a file that is named one": ((0, 4096, 4, 0x22, 5, 0), bpf.REFUSE),
    "executable huge pages": ((0, 1 << 21, 5, 0x40002, 5, 0), bpf.REFUSE),
    "huge pages": ((0, 1 << 21, 3, 0x40022, -1, 0), bpf.REFUSE),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("arguments", "expected"), LIBRARIES.values(), ids=LIBRARIES)
def test_where_any_module_may_be_imported_a_file_alone_is_mapped_executable(
    machine: str, arguments: tuple[int, ...], expected: int
) -> None:
    """An extension module is mapped after the walls rose; nothing that the code wrote can be."""
    program = filters.kernel_filter(machine, "B", PID, map_libraries=True)
    arch, numbers = syscalls.audit_arch(machine), syscalls.syscall_numbers(machine)
    assert answer(program, arch, numbers["mmap"], *arguments) == expected
    assert answer(program, arch, numbers["mprotect"], ADDRESS, 4096, 5) == bpf.REFUSE
