"""Raises the walls in order around this process: namespaces, lock A, lock B. A wall.

Is: the order, the fail-closed rule, the rows. Is not: any mechanism. Above: `in_kernel/launch.py`,
`in_kernel/probe.py`, `in_kernel/loader/process.py`. Below: the other modules of this package.

If the machine cannot raise a wall that the policy requires, that is `WallFailed`; if the policy only wants it, its row
says why not. A step that fails half-way is `WallFailed` whatever the policy says: the process is in an unknown state.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from rlm_kernel_mcp.in_kernel.walls import capabilities, container, landlock, limits, namespaces, syscalls, window
from rlm_kernel_mcp.in_kernel.walls.filters import seccomp
from rlm_kernel_mcp.in_kernel.walls.plan import (
    READ_ONLY_SCRATCH,
    REMEDIES,
    WALLS,
    WallFailed,
    WallPlan,
    WallStatus,
)

_ELSEWHERE = "Run the whole server inside a Linux container or virtual machine; the walls hold there."
_UMASK = 0o077


ThreadBound = Literal["namespace's user", "own user", "numbers", "host"]
_COUNTED: Final = {
    "namespace's user": "by their user, within the namespace",
    "own user": "by their user, who is nobody else",
    "numbers": "by the namespace's numbers",
    "host": "counted by the host",  # the host recognises these words (`wire.py` has them too) and counts
}


@dataclass(slots=True)
class Raised:
    """What has been raised around this process so far. Made by `enter_namespaces`, completed by the two locks."""

    plan: WallPlan
    statm: int
    monitor: int | None = None
    threads: ThreadBound = "host"
    """What enforces the policy's number of threads. RLIMIT_NPROC does not apply to root, and without a user namespace
    or a user of its own it would also count what is not this kernel's."""
    scratch_writable: bool = False
    """Whether user code may write in the scratch directory: only if its quota is enforced."""
    tasks: int | None = None
    """A descriptor that lists this process's own threads, if it shares a pid namespace with other processes."""
    _rows: dict[str, WallStatus] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[WallStatus, ...]:
        """One row per wall, in the order of `WALLS`; complete after `raise_lock_b`."""
        return tuple(self._rows[name] for name in WALLS if name in self._rows)

    def holds(self, wall: str) -> bool:
        """Whether a wall is up already."""
        return wall in self._rows and self._rows[wall].holds

    def detail(self, wall: str) -> str:
        """What the row of a wall says."""
        return self._rows[wall].detail

    def note(self, wall: str, holds: bool, detail: str) -> None:
        """Write a wall's row, replacing an earlier one."""
        self._rows[wall] = WallStatus(wall, holds, detail, "" if holds else REMEDIES[wall])

    def attempt(self, wall: str, act: Callable[[], str]) -> None:
        """Raise one wall and write its row.

        Raises:
            WallFailed: the operating system refused a wall that the policy requires.
        """
        if not self.plan.asks_for(wall):
            self.note(wall, False, "the policy does not ask for it")
            return
        try:
            self.note(wall, True, act())
        except OSError as error:
            self.refuse(wall, f"{error.strerror or error}.")

    def refuse(self, wall: str, reason: str) -> None:
        """Write that a wall cannot be raised.

        Raises:
            WallFailed: the policy requires it.
        """
        if wall in self.plan.required:
            raise WallFailed(wall, reason, REMEDIES[wall])
        self.note(wall, False, reason)


def enter_namespaces(plan: WallPlan, announce: namespaces.Announce | None = None) -> Raised:
    """Step 1: namespaces and the scratch quota, if the machine allows them. Returns in the kernel.

    The caller has one thread, and everything is imported. With namespaces it forks: the caller stays behind as the
    monitor and never returns. `announce` is called once in either case (see the package docstring).

    Raises:
        WallFailed: a required wall cannot be raised, or a step failed half-way.
    """
    if sys.platform != "linux":
        raise WallFailed("landlock", f"{sys.platform} has none of these walls.", _ELSEWHERE)
    if not syscalls.is_single_threaded():
        raise WallFailed(
            "landlock", "the process has more than one thread.", "Raise the walls before any thread starts."
        )
    capabilities.forget_groups()
    # Held across the change of view, in which /proc is not mounted.
    procfs = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    refusal = namespaces.refusal() if plan.asks_for("namespaces") else "the policy does not ask for it"
    if refusal and plan.in_container:
        raised = _inside_container(plan, procfs)
        _announce_self(announce)
    elif refusal:
        raised = _without_namespaces(plan, procfs, refusal)
        _announce_self(announce)
    else:
        raised = _inside_namespaces(plan, procfs, announce)
    os.close(procfs)
    return raised


def raise_lock_a(raised: Raised) -> None:
    """Step 2: everything that must stand before the first thread; stream sockets can still be made and bound.

    Raises:
        WallFailed: a required wall cannot be raised.
    """
    plan, alone = raised.plan, raised.holds("namespaces")
    os.umask(_UMASK)
    if not syscalls.is_single_threaded():
        raise WallFailed(
            "landlock", "the process has more than one thread.", "Raise the walls before any thread starts."
        )
    if not alone:
        _die_with(plan.parent_pid)
    counts = raised.threads in ("namespace's user", "own user")
    processes = plan.threads + (raised.monitor is not None) if counts else 0
    counted = _COUNTED[raised.threads]
    raised.attempt("rlimits", lambda: limits.raise_limits(plan, processes=processes, counted=counted))
    raised.attempt("capabilities", capabilities.drop_all)
    raised.attempt("no_new_privs", _no_new_privs)
    raised.attempt("not_dumpable", _not_dumpable)
    raised.attempt(
        "landlock", lambda: landlock.restrict(landlock.granted(plan, raised.scratch_writable), behind_namespaces=alone)
    )
    raised.attempt("seccomp", lambda: seccomp.load_stage("A", os.getpid()))
    if not alone:
        _note_scratch_without_quota(raised)


def raise_lock_b(raised: Raised) -> None:
    """Step 3: the address space with its window, the sockets directory, the filter for user code on every thread.

    Raises:
        WallFailed: a required wall cannot be raised, the monitor is gone, or nothing would close the window.
    """
    files = _window(raised)
    if raised.holds("rlimits"):
        others = raised.detail("rlimits")
        memory = (raised.statm, raised.plan.memory_mb, raised.plan.mapped_max_gb if files else 0)
        raised.attempt("rlimits", lambda: f"{limits.bound_memory(*memory)}, {others}")
    else:
        os.close(raised.statm)
    if raised.monitor is not None:
        try:
            namespaces.sockets_bound(raised.monitor)
        except OSError as error:
            raise WallFailed("namespaces", f"{error.strerror or error}.", REMEDIES["namespaces"]) from error
    threads = _own_threads(raised)
    if raised.holds("seccomp"):
        libraries = raised.plan.map_libraries
        raised.attempt(
            "seccomp",
            lambda: seccomp.load_stage("B", os.getpid(), map_libraries=libraries, threads=threads, window=files),
        )
    if files and not raised.holds("seccomp"):
        raise WallFailed("seccomp", "stage B was refused; without it the window for files is room for anything.", "")


def _window(raised: Raised) -> tuple[int, int] | None:
    """The window for files, if every wall that secures it is up; Landlock too, since a mapped /dev/zero is memory."""
    stand = all(raised.holds(wall) for wall in ("rlimits", "seccomp", "landlock"))
    return window.take(raised.plan.mapped_max_gb, raised.plan.memory_mb) if stand else None


def _inside_namespaces(plan: WallPlan, procfs: int, announce: namespaces.Announce | None) -> Raised:
    is_root = os.geteuid() == 0
    try:
        monitor, places = namespaces.enter(plan, announce or (lambda _pid, _pidfd: None))
    except OSError as error:
        raise WallFailed("namespaces", f"{error.strerror or error}.", REMEDIES["namespaces"]) from error
    threads: ThreadBound = "host" if is_root else "namespace's user"
    if is_root and plan.asks_for("rlimits") and limits.number_threads(procfs, plan.threads):
        threads = "numbers"
    raised = Raised(plan, limits.open_statm(procfs), monitor, threads, plan.scratch_mb > 0)
    users = "root outside, without its rights" if is_root else "an ordinary user outside"
    raised.note("namespaces", True, f"user ({users}), mount ({places} places in view), network, pid, ipc, uts, cgroup")
    quota = f"{plan.scratch_mb} MB and {plan.scratch_files} files on a tmpfs of its own"
    raised.note("scratch_quota", True, quota if plan.scratch_mb else f"0 MB: {READ_ONLY_SCRATCH}")
    return raised


def _inside_container(plan: WallPlan, procfs: int) -> Raised:
    """The engine's namespaces and tmpfs instead of our own, which it does not let us make inside its own."""
    raised = Raised(plan, limits.open_statm(procfs))
    raised.note("namespaces", True, container.NAMESPACES)
    quota = container.scratch_quota(plan)
    if quota:
        raised.scratch_writable = plan.scratch_mb > 0
        raised.note("scratch_quota", True, quota if plan.scratch_mb else f"0 MB: {READ_ONLY_SCRATCH}")
    else:
        raised.refuse("scratch_quota", f"the engine bounds bytes or files only, so {READ_ONLY_SCRATCH}.")
    os.chdir(plan.scratch)
    return raised


def _without_namespaces(plan: WallPlan, procfs: int, refusal: str) -> Raised:
    raised = Raised(plan, limits.open_statm(procfs))
    raised.tasks = os.open("self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=procfs)
    raised.refuse("namespaces", refusal)
    os.chdir(plan.scratch)
    if plan.asks_for("rlimits"):
        raised.threads = _counted_alone()
    return raised


def _counted_alone() -> ThreadBound:
    """Become a user whose only threads are this kernel's, so that the system itself counts and bounds them."""
    if limits.become_a_user_of_its_own():
        return "own user"
    return "namespace's user" if os.geteuid() != 0 and namespaces.enter_a_user_namespace() else "host"


def _note_scratch_without_quota(raised: Raised) -> None:
    read_only = raised.holds("landlock")
    if read_only and raised.plan.scratch_mb == 0:
        raised.note("scratch_quota", True, f"0 MB: {READ_ONLY_SCRATCH}")
    elif read_only:
        raised.refuse("scratch_quota", f"no quota can be enforced without namespaces, so {READ_ONLY_SCRATCH}.")
    else:
        raised.refuse("scratch_quota", "neither a quota nor Landlock is there: files are bounded one by one only.")


def _own_threads(raised: Raised) -> tuple[int, ...] | None:
    """The ids of this process's threads; None in a pid namespace of its own, where nothing else has an id."""
    if raised.tasks is None:
        return None
    threads = tuple(map(int, os.listdir(raised.tasks)))  # noqa: PTH208  (a descriptor has no path)
    os.close(raised.tasks)
    raised.tasks = None
    return threads


def _announce_self(announce: namespaces.Announce | None) -> None:
    if announce is None:
        return
    pidfd = os.pidfd_open(os.getpid())
    announce(os.getpid(), pidfd)
    os.close(pidfd)


def _die_with(parent_pid: int) -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have ended before the line above, and then no signal will come (PR_SET_PDEATHSIG(2const)).
    if os.getppid() != parent_pid:
        os._exit(namespaces.MONITOR_FAILED)


def _no_new_privs() -> str:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if syscalls.prctl(syscalls.PR_GET_NO_NEW_PRIVS) != 1:
        raise OSError(errno.EPERM, "it was set, and is not")
    return "no program can give this process rights"


def _not_dumpable() -> str:
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    if syscalls.prctl(syscalls.PR_GET_DUMPABLE) != 0:
        raise OSError(errno.EPERM, "it was cleared, and is not")
    return "no process of the same user can read its memory"
