"""What a client hands over: its streams, and the rights that it showed by opening.

Is: the check of each descriptor, by what the kernel says of it; a front has streams, a program has none. A root is
read through the very descriptor that the client opened with its own rights, and what it is called is asked of the
kernel: no path that a client says opens anything. And the threads in which what may never answer is asked. Is not: the
handshake.
Above: `door.py`, `kinds/`. Below: `handshake.py`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from rlm_kernel_mcp.front.front import PROOF_NAME, NoHost
from rlm_kernel_mcp.host.entry.handshake import STREAMS_AND_RIGHTS


@dataclass(frozen=True, slots=True)
class Directories:
    """What one client may open, checked."""

    cwd: Path
    roots: tuple[tuple[Path, int], ...]


@dataclass(frozen=True, slots=True)
class Rights(Directories):
    """One front's descriptors, checked."""

    wire_in: int
    wire_out: int
    stderr: int
    page: int


PROOF_CWD_ROOT: Final = 3
"""So many descriptors a client has at least beside streams."""

LOOKS: Final = ThreadPoolExecutor(64, thread_name_prefix="look")
"""Not asyncio's own threads: a file system that never answers keeps those who ask it, and others are not to wait."""

STREAMS: Final = (stat.S_ISFIFO, stat.S_ISSOCK, stat.S_ISCHR, stat.S_ISREG)
FAR: Final = ("fuse", "nfs", "cifs", "smb", "9p", "ceph", "afs", "lustre", "gpfs", "virtiofs")
"""How the names of file systems begin behind which there is a network, or a program: a read there may never end."""

R = TypeVar("R")


async def looked_at(look: Callable[[], R]) -> R:
    """What a look at what a peer has, or is, finds; it may never find anything, so give it a deadline."""
    return await asyncio.get_running_loop().run_in_executor(LOOKS, look)


def checked(descriptors: Sequence[int], state: str) -> Rights:
    """A front's descriptors by what they are for.

    Raises:
        NoHost: one is not what it should be, or does not show the right that it stands for.
    """
    if len(descriptors) <= STREAMS_AND_RIGHTS:
        raise NoHost(f"{len(descriptors)} descriptors came, and a client has more than {STREAMS_AND_RIGHTS}")
    wire_in, wire_out, stderr, page, *rest = descriptors
    for descriptor, modes, what in (
        (wire_in, (os.O_RDONLY, os.O_RDWR), "stdin"),
        (wire_out, (os.O_WRONLY, os.O_RDWR), "stdout"),
        (page, (os.O_RDWR,), "the page of unanswered ids"),
    ):
        _require_mode(descriptor, modes, what)
    for descriptor, what in ((wire_in, "stdin"), (wire_out, "stdout"), (stderr, "stderr")):
        _require_stream(descriptor, what)
    _require_memory(page)
    directories = directories_of(rest, state)
    return Rights(directories.cwd, directories.roots, wire_in, wire_out, stderr, page)


def directories_of(descriptors: Sequence[int], state: str) -> Directories:
    """What stands behind a front's streams, and is all that a program hands over: the proof, and its directories.

    Raises:
        NoHost: as `checked`.
    """
    if len(descriptors) < PROOF_CWD_ROOT:
        raise NoHost(f"{len(descriptors)} descriptors came, and a client has {PROOF_CWD_ROOT} at least")
    proof, cwd, *roots = descriptors
    require_records(proof, state)
    return Directories(_directory(cwd), tuple((_directory(root), root) for root in roots))


def require_records(proof: int, state: str) -> None:
    """Every client can list sessions and read their traces: so it has to have the right to the records itself.

    Raises:
        NoHost: `proof` does not show that.
    """
    _require_mode(proof, (os.O_RDWR,), "the proof of the records")
    try:
        found = os.lstat(f"{state}/{PROOF_NAME}")
    except OSError as error:
        raise NoHost(f"the records cannot be looked at: {error.strerror}") from error
    if not os.path.samestat(found, os.fstat(proof)):
        raise NoHost("the client did not show that it may use the records of this host")


def _require_mode(descriptor: int, modes: Sequence[int], what: str) -> None:
    if _mode(descriptor) not in modes:
        raise NoHost(f"{what} is not open as it must be")


def _mode(descriptor: int) -> int:
    """How it was opened; -1: as a mere place in the tree (O_PATH), which takes no right to read what is there."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    return -1 if flags & os.O_PATH else flags & os.O_ACCMODE


def _require_stream(descriptor: int, what: str) -> None:
    """The host reads and writes there on behalf of one client, and all others wait for it meanwhile."""
    found = os.fstat(descriptor)
    if not any(is_kind(found.st_mode) for is_kind in STREAMS):  # an eventfd keeps even who was told to read
        raise NoHost(f"{what} is no pipe, socket, terminal, device or file")
    if (kind := _file_system(found.st_dev)).startswith(FAR):  # its pipes and devices are opened and closed there too
        raise NoHost(f"{what} is a file of a file system ({kind}) that may never answer")


def _file_system(device: int) -> str:
    """What kind of file system has that number; "" where it is not known (btrfs)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        mounted, _, of = line.partition(" - ")
        if mounted.split(" ", 3)[2] == number:
            return of.partition(" ")[0]
    return ""


def _require_memory(page: int) -> None:
    """The host writes there at every message, and a file of a disk or of FUSE may keep it waiting."""
    try:
        fcntl.fcntl(page, fcntl.F_GET_SEALS)
    except OSError as error:
        raise NoHost("the page of unanswered ids is not in memory") from error


def _directory(descriptor: int) -> Path:
    """What it is called. One that was removed since is lost: a root then allows nothing, and the client goes on."""
    if _mode(descriptor) != os.O_RDONLY or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise NoHost("a root or the working directory is not a directory that the client opened for reading")
    name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
    if not name.startswith("/"):
        raise NoHost("a root or the working directory lies outside of what the host can reach by a path")
    return Path(name)
