"""Which system calls a kernel, and its monitor, may make. A wall.

Is: the allowlists as pure functions of machine, stage and pid. Is not: their installation (`seccomp.py`).
Above: `seccomp.py`. Below: `bpf.py`, the numbers in `in_kernel/walls/syscalls.json`.

Each refusal that is not obvious has its reason beside it. The default is to refuse (EPERM).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.filters import bpf

Stage = Literal["A", "B"]

FIRST_UNKNOWN: Final = 463
"""One past `mseal` (Linux 6.10): newer calls are answered ENOSYS, so that a newer C library falls back."""


def _words(*lines: str) -> tuple[str, ...]:
    return tuple(word for line in lines for word in line.split())


_PLAIN: Final = _words(
    # files: Landlock and the mounts decide which
    "read write readv writev pread64 pwrite64 preadv pwritev lseek close dup dup2 dup3 pipe pipe2 open openat",
    "fstat newfstatat stat lstat statx access faccessat faccessat2 readlink readlinkat getdents64 getcwd chdir",
    "fsync fdatasync ftruncate truncate rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir umask",
    # waiting
    "poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2",
    "nanosleep pause restart_syscall alarm setitimer getitimer",
    # memory (mmap, mprotect and madvise have bodies; with a window munmap and mremap have too)
    "brk munmap mremap msync",
    # this process, its threads and its signals (no fork, vfork or execve, and no setsid)
    "exit exit_group sched_yield set_robust_list set_tid_address rseq gettid getpid getppid",
    "getuid geteuid getgid getegid getpgrp getgroups getrlimit getrusage times",
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack",
    # facts about the machine and the time
    "gettimeofday time getrandom uname sysinfo getcpu",
    # sockets that are open already; nothing here makes or names one (no sendmsg: it could pass descriptors)
    "recvfrom recvmsg accept accept4 getsockname getpeername shutdown",
)

# Only for libzmq's sockets and for loading stage B: lock B is raised before any user code runs.
_PLAIN_IN_STAGE_A: Final = _words(
    "bind listen connect seccomp setsockopt fchmod",
)

# What CPython itself calls between a wait, a signal and the end. No open: the monitor needs no file any more.
_MONITOR_PLAIN: Final = _words(
    "read write close wait4 waitid futex brk munmap madvise getpid gettid rt_sigaction rt_sigprocmask rt_sigreturn",
    "restart_syscall sigaltstack clock_gettime exit exit_group",
)

# glibc and CPython try these first and fall back when they do not exist. clone3 and openat2 take their flags in memory,
# which a filter cannot read (and another thread could change after the check).
_NOT_THERE: Final = ("clone3", "close_range", "copy_file_range", "openat2")

AF_UNIX: Final = 1
SOCK_STREAM: Final = 1
SOCK_FLAGS: Final = 0o2004000
"""SOCK_CLOEXEC | SOCK_NONBLOCK."""
SOL_SOCKET: Final = 1
SOCKET_OPTIONS: Final = (3, 4, 7, 8, 30, 38, 39)
"""SO_TYPE, SO_ERROR, SO_SNDBUF, SO_RCVBUF, SO_ACCEPTCONN, SO_PROTOCOL, SO_DOMAIN; not SO_PEERPIDFD, not SO_PEERCRED."""
MSG_FASTOPEN: Final = 0x20000000

THREAD_FLAGS: Final = (0x003D0F00, 0x007D0F00)
"""clone(2)'s flags for a thread, as glibc and musl pass them; a new process or namespace needs other flags."""

FCNTL_COMMANDS: Final = (0, 1, 2, 3, 4, 1030, 1032)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_GETPIPE_SZ. Not F_SETOWN (SIGIO to anybody), nor
byte-range locks, leases and directory notifications: each takes memory of the operating system, and nothing bounds how
many there are; and a lock, like flock(2)'s, can be taken on any file that can be read, which would lock out the
machine's own programs (decision 0026)."""
FUTEX_OPERATIONS: Final = (0, 1, 3, 4, 5, 9, 10)
"""WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET. Not those with priority inheritance: they
read the lock owner's thread id from memory, where it may be another process's, and their answer tells whether that
process exists."""
FUTEX_FLAGS: Final = 0x180
"""FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME."""
FILE_ADVICE: Final = (0, 1, 2, 3, 5)
"""NORMAL, RANDOM, SEQUENTIAL, WILLNEED, NOREUSE. Not DONTNEED: it drops the machine's page cache of shared files."""
MEMORY_ADVICE: Final = (0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23)
"""As far as POPULATE_WRITE. Not REMOVE, MERGEABLE, COLD, PAGEOUT, COLLAPSE or the poisoning of pages: they affect pages
of files that others have mapped too, or merge memory with theirs (a side channel)."""
PER_THREAD_CLOCK: Final = 4
"""In a negative clock number: the processor time of one thread, which Linux tells threads of that process only."""
RLIMIT_AS: Final = 9
IOCTL_REQUESTS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. Not TIOCSTI (types into a terminal), not FIOASYNC."""
PRCTL_OPTIONS: Final = (15, 16, 0x53564D41)
"""PR_SET_NAME, PR_GET_NAME, PR_SET_VMA."""
HARMLESS_SCHEDULERS: Final = (0, 3, 5)
"""SCHED_OTHER, SCHED_BATCH, SCHED_IDLE: libzmq sets one on its threads and aborts when it may not."""

PROT_WRITE_AND_EXEC: Final = 6
PROT_EXEC: Final = 4
MAP_ANONYMOUS: Final = 0x20
MAP_HUGETLB: Final = 0x40000
"""Huge pages come from a pool that all of the machine shares."""
MAP_SHARED_AND_FIXED: Final = 0x11
PROT_READ: Final = 1
MREMAP_TO_A_PLACE: Final = 6
"""MREMAP_FIXED | MREMAP_DONTUNMAP: the flags with which mremap(2) reads its fifth argument, a new address."""

Window = tuple[int, int]
"""First address and first one behind, multiples of 4 GB: between them files are mapped read-only, and nothing else."""


def kernel_filter(
    machine: str,
    stage: Stage,
    pid: int,
    *,
    map_libraries: bool = False,
    threads: Sequence[int] | None = (),
    window: Window | None = None,
) -> bpf.Body:
    """The filter of a kernel: stage A while it binds its sockets and starts its threads, stage B for user code.

    Args:
        map_libraries: in stage B too, a file may be mapped executable (an extension module); never a writable mapping,
            never anonymous memory, and nothing becomes executable later.
        machine: `x86_64` or `aarch64`; KeyError for any other.
        stage: A also allows making, binding and connecting stream sockets with a path, mapping libraries, and loading
            stage B.
        pid: the kernel's pid in its own namespace: the only process it may signal or limit.
        threads: in stage B, the threads whose scheduler and affinity may be asked for, and whose scheduler may be set
            to a harmless one; None where no other process is visible. Stage A admits any: they are only starting then.
        window: the addresses where stage B admits read-only mappings of files and nothing else.
    """
    bodies = _plain(_PLAIN) | dict.fromkeys(_NOT_THERE, bpf.NOT_THERE) | _checked(pid) | _memory(stage)
    bodies |= _schedulers(pid, None if stage == "A" else threads)
    if stage == "B" and map_libraries:
        bodies["mmap"] = _library_or_data()
    if stage == "B" and window is not None:
        bodies |= _outside(window, bodies)
    if stage == "A":
        bodies |= _plain(_PLAIN_IN_STAGE_A)
        bodies["socket"] = _unix_stream()
    return _assemble(machine, bodies)


def monitor_filter(machine: str, own_pid: int, pidfd: int) -> bpf.Body:
    """The filter of a monitor: wait for the kernel, signal it (by its pidfd) or itself, and end."""
    bodies = _plain(_MONITOR_PLAIN) | _memory("B")
    bodies |= {"kill": bpf.one_of(0, (own_pid,)), "pidfd_send_signal": bpf.one_of(0, (pidfd,))}
    return _assemble(machine, bodies)


def _plain(names: Iterable[str]) -> dict[str, bpf.Body]:
    return dict.fromkeys(names, bpf.ALLOWED)


def _checked(pid: int) -> dict[str, bpf.Body]:
    # Its own process group too (an interrupt), except as pid 1: kill(-1) would signal everybody.
    own = (pid, -pid) if pid > 1 else (pid,)
    return {
        "clone": bpf.one_of(0, THREAD_FLAGS),
        # For asyncio's self-pipe. A SOCK_DGRAM pair could be aimed with sendto(path) at any datagram socket outside.
        "socketpair": _unix_stream(),
        # Without an address it is send(2). MSG_FASTOPEN would connect without connect(2).
        "sendto": bpf.null(4, bpf.no_bit_of(3, MSG_FASTOPEN)),
        # Nothing that names the peer: its pid, its user, or a descriptor of its process.
        "getsockopt": bpf.one_of(1, (SOL_SOCKET,), bpf.one_of(2, SOCKET_OPTIONS)),
        "kill": bpf.one_of(0, own),
        "tgkill": bpf.one_of(0, (pid,)),
        # Limits may be read. Setting them is refused, except that of memory, whose soft limit moves with each step; its
        # hard limit can only be lowered, which `limits.soft_memory` notices.
        "prlimit64": bpf.one_of(0, (0, pid), bpf.equal_or(1, RLIMIT_AS, bpf.ALLOWED, bpf.null(2))),
        # Of another process, these two would tell whether it exists.
        "getpgid": bpf.one_of(0, (0, pid)),
        "getsid": bpf.one_of(0, (0, pid)),
        "clock_gettime": _own_clock(pid),
        "clock_getres": _own_clock(pid),
        "clock_nanosleep": _own_clock(pid),
        "futex": bpf.masked_one_of(1, ~FUTEX_FLAGS, FUTEX_OPERATIONS),
        "madvise": bpf.one_of(2, MEMORY_ADVICE),
        "fadvise64": bpf.one_of(3, FILE_ADVICE),
        "fcntl": bpf.one_of(1, FCNTL_COMMANDS),
        "ioctl": bpf.one_of(1, IOCTL_REQUESTS),
        "prctl": bpf.one_of(0, PRCTL_OPTIONS),
    }


def _own_clock(pid: int) -> bpf.Body:
    """The machine's clocks (not negative), and this process's own processor time (clock_getcpuclockid(3))."""
    # Linux encodes a process's clock as ~pid << 3 | kind, where pid 0 is the caller (linux/posix-timers.h).
    own = [~of << 3 | kind for of in (0, pid) for kind in (0, 1, 2)]
    measures_processor = bpf.if_any_bit_of(0, PER_THREAD_CLOCK, bpf.ALLOWED, bpf.one_of(0, own))
    return bpf.if_any_bit_of(0, 1 << 31, measures_processor, bpf.ALLOWED)


def _schedulers(pid: int, threads: Sequence[int] | None) -> dict[str, bpf.Body]:
    # The first thing that a thread of libzmq does is to ask for its scheduler and to set it. On a busy machine that is
    # after stage B is loaded, and libzmq calls abort(3) if it may not.
    ask, choose = bpf.ALLOWED, bpf.one_of(1, HARMLESS_SCHEDULERS)
    if threads is not None:
        ask, choose = bpf.one_of(0, threads), bpf.one_of(0, threads, choose)
    # Libraries size their thread pools by sched_getaffinity(0), the caller's own.
    where = bpf.ALLOWED if threads is None else bpf.one_of(0, (0, pid, *threads))
    asked = {"sched_getparam": ask, "sched_getscheduler": ask, "sched_getaffinity": where}
    return asked | {"sched_setscheduler": choose}


def _memory(stage: Stage) -> dict[str, bpf.Body]:
    # Stage A maps libraries, but nothing that is writable and executable at once; stage B maps nothing executable.
    def allowed(then: bpf.Body) -> bpf.Body:
        return bpf.not_all_bits_of(2, PROT_WRITE_AND_EXEC, then) if stage == "A" else bpf.no_bit_of(2, PROT_EXEC, then)

    return {"mprotect": allowed(bpf.ALLOWED), "mmap": allowed(bpf.no_bit_of(3, MAP_HUGETLB))}


def _outside(window: Window, bodies: Mapping[str, bpf.Body]) -> dict[str, bpf.Body]:
    """The calls that change what is mapped: unchanged outside the window; inside, only files may be mapped read-only.

    The limit of memory counts the window as used already. So what is unmapped there, or moved out, would leave room
    that the limit does not count, and what is writable or anonymous there would be memory that it does not count.
    """

    def outside(then: bpf.Body, address: int = 0, length: int = 1) -> bpf.Body:
        return bpf.if_touches(address, length, *window, bpf.REFUSED, then)

    elsewhere = outside(bodies["mmap"])
    # Exactly these flags: with MAP_ANONYMOUS among them it would be memory, and not a file.
    file_to_read = bpf.equal_or(3, MAP_SHARED_AND_FIXED, bpf.ALLOWED, elsewhere)
    to_a_place = outside(bpf.ALLOWED, address=4, length=2)
    return {
        "mmap": bpf.equal_or(2, PROT_READ, file_to_read, elsewhere),
        "munmap": outside(bodies["munmap"]),
        "mprotect": outside(bodies["mprotect"]),
        "mremap": outside(bpf.if_any_bit_of(3, MREMAP_TO_A_PLACE, to_a_place, bodies["mremap"])),
    }


def _library_or_data() -> bpf.Body:
    # Executable only with a file behind it: otherwise code could be written to memory and run from there.
    library = bpf.not_all_bits_of(2, PROT_WRITE_AND_EXEC, bpf.no_bit_of(3, MAP_ANONYMOUS | MAP_HUGETLB))
    return bpf.if_any_bit_of(2, PROT_EXEC, library, bpf.no_bit_of(3, MAP_HUGETLB))


def _unix_stream() -> bpf.Body:
    return bpf.one_of(0, (AF_UNIX,), bpf.equal_but_for(1, SOCK_STREAM, SOCK_FLAGS))


def _assemble(machine: str, bodies: Mapping[str, bpf.Body]) -> bpf.Body:
    numbers = syscalls.syscall_numbers(machine)
    # aarch64 lacks the old calls (open, stat, poll, ...), whose newer forms it has under their own names.
    present = [(numbers[name], body) for name, body in bodies.items() if name in numbers]
    return bpf.assemble(syscalls.audit_arch(machine), FIRST_UNKNOWN, present)
