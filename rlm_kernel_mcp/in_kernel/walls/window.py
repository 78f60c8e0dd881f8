"""A part of the address space where files are mapped read-only, and where nothing else can ever be. A wall.

Is: the reservation of that part, and the mapping of a file into it. Is not: what keeps it so, which is the filter of
stage B (`filters/programs.py`), nor the use of a mapped file. Above: `raising.py`, who loads a context.
Below: `syscalls.py`.

The limit of memory is one of address space (`limits.py`), which counts every kind of memory. The window is taken before
that limit is set, and filled with empty read-only pages; so user code has the same room outside it, whatever its size.
A mapped file takes the place of empty pages and no more
([decision 0070](docs/decisions/0070-files-are-mapped-into-a-window.md)).
"""

from __future__ import annotations

import errno
import mmap
import resource
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import syscalls

GB: Final = 1 << 30
START: Final = 0x1000_0000_0000
"""Where it begins: far from the heap, the libraries and the stack in every address-space layout of Linux."""
STEP_GB: Final = 4
"""The filter compares the upper words of addresses, so the part that it closes is rounded up to this."""
BARE_BYTES: Final = GB
"""More address space than a bare kernel has, including the gap above its memory."""
TERMINATOR_BYTES: Final = 4
"""Zero bytes behind a mapped file, as wide as the widest character: C code expects a str to end with them."""
# linux/mman.h; Python's `mmap` can neither choose an address nor keep another mapping's.
MAP_FIXED: Final = 0x10
MAP_NORESERVE: Final = 0x4000
MAP_FIXED_NOREPLACE: Final = 0x100000

_room = [START, START]
"""The first free address, and the end."""


def take(size_gb: int, memory_mb: int) -> tuple[int, int] | None:
    """Reserve the window in this process's address space, if an inherited limit leaves room beside it.

    Args:
        size_gb: the window's size.
        memory_mb: the memory that the session may have beside it.

    Returns:
        What the filter must close: the first address, and the first one behind. None if no window is asked for (0), or
        there can be none: the address space is smaller or more tightly limited, or these addresses are in use.
    """
    # Under a limit that is lower, the window would use up what the session needs.
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY and hard < size_gb * GB + (memory_mb << 20) + BARE_BYTES:
        return None
    # NOREPLACE: never over something that is there (before Linux 4.17 it would lie elsewhere).
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE
    try:
        if not size_gb or syscalls.syscall("mmap", START, size_gb * GB, mmap.PROT_READ, flags, -1, 0) != START:
            return None
    except OSError:
        return None
    _room[:] = [START, START + size_gb * GB]
    return START, START + -(-size_gb // STEP_GB) * STEP_GB * GB


def map_file(descriptor: int, size: int, offset: int = 0) -> int:
    """Map `size` bytes of an open file read-only, with zero bytes behind; the mapping is never removed.

    Args:
        descriptor: may be closed afterwards. The pages of a file on a tmpfs count as memory once they are read.
        size: in bytes, above 0. Where the file goes on behind them, its own bytes follow up to the page's end.
        offset: of the first of them in the file, a multiple of the page size.

    Returns:
        The address.

    Raises:
        OSError: there is no window, or no room in it (ENOMEM), or the file cannot be mapped.
    """
    address, end = _room
    # In whole pages: the rest of the last page reads as zero bytes, and where the file fills it, an empty page follows.
    behind = address + -(-(size + TERMINATOR_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
    if behind > end:
        raise OSError(errno.ENOMEM, f"{size:,} bytes do not fit: {end - address:,} are left for files that are mapped")
    syscalls.syscall("mmap", address, size, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, descriptor, offset)
    _room[0] = behind
    return address


def room() -> tuple[int, int]:
    """How many bytes of the window are free, and how many it has."""
    return _room[1] - _room[0], _room[1] - START
