"""The kernel's own view of files: a small read-only root with the Python installation and a scratch tmpfs. A wall.

Is: mounts, made in a mount namespace of their own, and the pivot into them. Is not: the namespaces themselves. Above:
`namespaces.py`. Below: `syscalls.py`. Needs Linux 5.12 (mount_setattr on whole trees).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.plan import MB, WallPlan

DEVICES: Final = ("/dev/null", "/dev/urandom")

# linux/mount.h and linux/fcntl.h; Python's `os` has none of these calls.
_MS_REC_PRIVATE: Final = 0x4000 | 1 << 18
_MNT_DETACH: Final = 2
_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_EMPTY_PATH: Final = 4

RDONLY: Final = 1
NOSUID: Final = 2
NODEV: Final = 4
NOEXEC: Final = 8


@dataclass(frozen=True, slots=True)
class _Tree:
    """A clone of a mount in the old view: its path, a descriptor of it, whether it is a directory."""

    path: str
    descriptor: int
    is_directory: bool


def enter_view(plan: WallPlan) -> int:
    """Replace this mount namespace's root; afterwards only what the plan names is there.

    Returns:
        How many paths of the machine are in view.

    Raises:
        OSError: the kernel refused a mount.
    """
    # Private first, or the mounts below would propagate to the machine (mount_namespaces(7)).
    syscalls.call("mount", None, b"/", None, _MS_REC_PRIVATE, None)
    links, places = resolve(plan.read_only)
    trees = [_clone(path, RDONLY | NOSUID | NODEV) for path in places]
    trees += [_clone(path, RDONLY | NOSUID | NOEXEC) for path in DEVICES]
    # Writable until the kernel has bound its sockets in it; then the monitor makes it read-only.
    trees.append(_clone(os.path.realpath(plan.socket_dir), NOSUID | NODEV | NOEXEC))
    root = plan.scratch  # a directory that certainly exists: the new root is built on top of it
    _tmpfs(root, "mode=755,size=1m,nr_inodes=4096", NOSUID | NODEV)
    for tree in trees:
        _attach(root, tree)
    socket_links, _ = resolve([plan.socket_dir, plan.scratch])
    for link, target in (links | socket_links).items():
        if not os.path.lexists(root + link):
            Path(root + link).parent.mkdir(parents=True, exist_ok=True)
            Path(root + link).symlink_to(target)
    _mount_scratch(plan, root + os.path.realpath(plan.scratch))
    os.chdir(root)
    # With "." for both, the old root ends up on top of the new one (pivot_root(2), notes), and is detached there.
    syscalls.syscall("pivot_root", b".", b".")
    syscalls.call("umount2", b".", _MNT_DETACH)
    # Not recursive: the scratch directory and, until lock B, the sockets directory stay writable.
    set_attributes("/", RDONLY | NOSUID | NODEV, recursive=False)
    os.chdir(plan.scratch)
    return len(trees)


def try_mount() -> None:
    """Try each kind of call that `enter_view` makes, in a mount namespace that is thrown away.

    Raises:
        OSError: the operating system refused one.
    """
    syscalls.call("mount", None, b"/", None, _MS_REC_PRIVATE, None)
    here = str(Path(__file__).parent)
    tree = _clone(here, RDONLY | NOSUID | NODEV)
    _tmpfs(here, "mode=755,size=1m,nr_inodes=64", NOSUID | NODEV)
    _attach(here, tree)


def resolve(paths: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Split paths into the symbolic links on the way and the real paths, without those that lie inside another.

    Returns:
        Each link with its target as written, and the real paths, shortest first. Paths that do not exist are left out.
    """
    links: dict[str, str] = {}
    real = {_follow(path, links) for path in paths if os.access(path, os.R_OK)}
    places: list[str] = []
    for place in sorted(real, key=lambda place: (place.count("/"), place)):
        if not any(place == larger or place.startswith(larger + "/") for larger in places):
            places.append(place)
    return links, places


def _follow(path: str, links: dict[str, str]) -> str:
    """The real path of an absolute path; adds the links on the way to `links`."""
    # With strings: every start of a kernel does this, and with `Path` it took a tenth of the time of all walls.
    todo, done = path.split("/")[::-1], ""
    while todo:
        name = todo.pop()
        if name == "..":
            done = done.rpartition("/")[0]
        elif name not in ("", "."):
            here = f"{done}/{name}"
            try:
                target = os.readlink(here)  # noqa: PTH115
            except OSError:  # no link
                done = here
            else:
                links[here] = target
                todo += target.split("/")[::-1]
                done = "" if target.startswith("/") else done
    return done or "/"


def set_attributes(path: str | int, attributes: int, *, recursive: bool = True) -> None:
    """Set mount attributes of the mount at a path or behind a descriptor, and of every mount below it.

    Raises:
        OSError: the operating system refused (EBUSY: something below is open for writing).
    """
    where, flags = (path, _AT_EMPTY_PATH) if isinstance(path, int) else (_AT_FDCWD, 0)
    flags |= _AT_RECURSIVE if recursive else 0
    name = b"" if isinstance(path, int) else os.fsencode(path)
    # `struct mount_attr`: attr_set, attr_clr, propagation, userns_fd, and its size (mount_setattr(2)).
    syscalls.syscall("mount_setattr", where, name, flags, struct.pack("=QQQQ", attributes, 0, 0, 0), 32)


def _clone(path: str, attributes: int) -> _Tree:
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    # Restricted before it is attached, so that no moment exists in which it is visible and writable.
    descriptor = syscalls.syscall("open_tree", _AT_FDCWD, os.fsencode(path), flags)
    set_attributes(descriptor, attributes)
    return _Tree(path, descriptor, stat.S_ISDIR(os.fstat(descriptor).st_mode))


def _attach(root: str, tree: _Tree) -> None:
    place = Path(root + tree.path)
    if tree.is_directory:
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    syscalls.syscall("move_mount", tree.descriptor, b"", _AT_FDCWD, os.fsencode(place), _MOVE_EMPTY_PATH)
    os.close(tree.descriptor)


def _mount_scratch(plan: WallPlan, place: str) -> None:
    Path(place).mkdir(parents=True, exist_ok=True)
    # For tmpfs, size=0 means no limit.
    size_bytes = max(1, plan.scratch_mb) * MB
    _tmpfs(place, f"mode=700,size={size_bytes},nr_inodes={plan.scratch_files}", NOSUID | NODEV | NOEXEC)
    if plan.scratch_mb == 0:
        set_attributes(place, RDONLY)


def _tmpfs(place: str, options: str, attributes: int) -> None:
    # NOSUID, NODEV and NOEXEC have the same bits in mount(2) and in mount_setattr(2).
    syscalls.call("mount", b"tmpfs", os.fsencode(place), b"tmpfs", attributes, options.encode())
