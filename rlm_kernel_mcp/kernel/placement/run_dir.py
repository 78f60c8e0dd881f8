"""Where a server's kernels have their sockets and scratch directories.

Is: one 0700 directory a server, held by a lock that dies with it, and one directory a kernel below it; the sweep of
what dead servers left. Is not: the state directory, which outlives servers. Below:
`kernel/placement/container/sweep.py`. The path is short since an ipc socket's path may have 107 bytes at most.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from rlm_kernel_mcp.errors import KernelStartFailed
from rlm_kernel_mcp.kernel.placement.container.sweep import may_have_containers, without_containers
from rlm_kernel_mcp.kernel.placement.local.kernel_dir import KernelDir, unusable
from rlm_kernel_mcp.kernel.placement.local.reaper import Reaper
from rlm_kernel_mcp.kernel.placement.run_place import PATH_BYTES_MAX, run_place
from rlm_kernel_mcp.shielded import made_in_thread

LOCK_NAME = "owner.lock"
NEW_LOCK_NAME = "new.lock"
REAPER = 'read _; for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$0" && exit; sleep 0.1; done'
"""A shell command that waits for the end of its input, and so of the server. Dying kernels may be in the way at
first."""


class RunDir:
    """One server's run directory. Hold it as long as the server lives."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock
        self._owner = os.getpid()
        self._reaper: Reaper | None = None

    @classmethod
    def create(cls, *, ask_engines: bool = False) -> RunDir:
        """Make this server's directory and sweep those of servers that are gone.

        `ask_engines`: also those that had containers, whose engine is asked to remove them.

        Raises:
            KernelStartFailed: the directory cannot be made, or its path is too long and so is every other place's.
        """
        try:
            base = run_place()
            sweep(base, ask_engines=ask_engines)
            path = Path(tempfile.mkdtemp(prefix="", dir=base))
            try:
                return cls(path, _owned(path))
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                raise
        except OSError as error:
            raise unusable("The run directory cannot be made", error) from error

    @classmethod
    async def create_in_thread(cls, *, ask_engines: bool = False) -> RunDir:
        """As `create`, in a thread, since it may have much to sweep; removed again where the wait is cancelled."""
        return await made_in_thread(partial(cls.create, ask_engines=ask_engines), lambda made: made.remove())

    def kernel_dir(self) -> KernelDir:
        """Make the directories of one more kernel."""
        try:
            made = KernelDir(Path(tempfile.mkdtemp(prefix="", dir=self.path)))
        except OSError as error:
            raise unusable("The kernel's directory cannot be made", error) from error
        try:
            made.make()
        except BaseException:
            made.remove()
            raise
        return made

    def guard(self) -> None:
        """Have a shell beside this process remove the directory where this process is killed; Codex does so at its end.

        Not for a directory that records containers: a container that is just being made would be forgotten with it.
        """
        if self._reaper is None:
            argv = ["/bin/sh", "-c", REAPER, str(self.path)]
            self._reaper = Reaper(argv, cwd="/", env={"PATH": "/usr/bin:/bin"})

    def remove(self) -> None:
        """Remove the directory with all below it, and release the lock; containers that are left are removed first.

        A second call does nothing, nor does one in a process that was forked from the owner.
        """
        if self._lock < 0 or self._owner != os.getpid():
            return
        lock, self._lock = self._lock, -1
        if without_containers([self.path]):
            shutil.rmtree(self.path, ignore_errors=True)
        if self._reaper is not None:
            self._reaper.stop()
            self._reaper = None
        os.close(lock)  # last: until now no other server's sweep has touched the directory


def sweep(base: Path, *, ask_engines: bool = False) -> list[Path]:
    """Remove the run directories whose owner is gone, by the lock that it held; returns them.

    A directory that records containers stays where no engine is to be asked: a server in container mode sweeps it.
    """
    # An flock is released by the kernel when its holder dies, however that happens; a pid in a file might be used
    # again.
    swept, with_containers = [], []
    with ExitStack() as held:
        for path in sorted(base.iterdir()):
            with ExitStack() as lock:
                if not _ownerless(path, lock):
                    continue
                if not may_have_containers(path):
                    swept.append(path)
                    shutil.rmtree(path, ignore_errors=True)
                elif ask_engines:
                    with_containers.append(path)
                    held.push(lock.pop_all())  # until the engines have answered: no other server sweeps it meanwhile
        for path in without_containers(with_containers):
            swept.append(path)
            shutil.rmtree(path, ignore_errors=True)
    return swept


def _ownerless(path: Path, lock: ExitStack) -> bool:
    """Whether this is a run directory whose owner is gone; its lock is then held by `lock`."""
    try:
        descriptor = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False  # not a run directory, or one that is being made or removed just now
    lock.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its owner lives, or that cannot be known
    return True


def _owned(path: Path) -> int:
    """The lock of a run directory that was made just now.

    Raises:
        OSError: it cannot be taken. KernelStartFailed: the directory's path is too long.
    """
    length = len(os.fsencode(path))
    if length > PATH_BYTES_MAX:
        raise KernelStartFailed(
            f"The run directory's path has {length} bytes; the limit is {PATH_BYTES_MAX}, since a socket's path may "
            "have 107.",
            "Set XDG_RUNTIME_DIR or TMPDIR to a shorter path.",
        )
    lock = os.open(path / NEW_LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Only now does another server's sweep see a run directory, and it sees one with an owner.
        (path / NEW_LOCK_NAME).rename(path / LOCK_NAME)
    except BaseException:
        os.close(lock)
        raise
    return lock
