"""A part of the address space in which files are mapped to be read, and in which nothing else can ever be. A wall.

Is: the reservation of that part, and the mapping of a file into it. Is not: what keeps it so, which is the filter of
stage B (`filters/programs.py`), nor what is made of a mapped file. Above: `raising.py`, who loads a context.
Below: `syscalls.py`.

The limit of memory is one of address space (`limits.py`), and counts every kind of memory there is. The window is taken
before that limit is set, and filled with empty pages that can only be read; so what user code has outside of it is the
same with a window of any size. A file that is mapped takes the place of empty pages and nothing more
([decision 0070](docs/decisions/0070-files-are-mapped-into-a-window.md)).
"""

from __future__ import annotations

import errno
import mmap
import resource
from typing import Final

from rlm_kernel_mcp.in_kernel.walls import syscalls as linux

GB: Final = 1 << 30
START: Final = 0x1000_0000_0000
"""Where it begins: far from the heap, the libraries and the stack, whichever way a system lays them out."""
STEP_GB: Final = 4
"""The filter knows places by the upper word of their address: what it closes is rounded up to this."""
BARE_BYTES: Final = GB
"""More than a bare kernel has in addresses, with the gap above its memory."""
TERMINATOR_BYTES: Final = 4
"""Zeroes behind a mapped file, as long as a character can be: what C ends a text by."""
MAP_FIXED: Final = 0x10
MAP_NORESERVE: Final = 0x4000
MAP_FIXED_NOREPLACE: Final = 0x100000

_room = [START, START]
"""The first free place, and the end."""


def take(size_gb: int, memory_mb: int) -> tuple[int, int] | None:
    """Take the window, of the address space of this process, where a limit that it inherited leaves room beside it.

    Args:
        size_gb: of the window.
        memory_mb: what the session may have beside it.

    Returns:
        What the filter must close: the first address, and the first behind. None where no window is asked for (0), or
        none can be had: the address space is smaller or more narrowly limited, or the place is taken.
    """
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY and hard < size_gb * GB + (memory_mb << 20) + BARE_BYTES:
        return None
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE
    try:
        if not size_gb or linux.syscall("mmap", START, size_gb * GB, mmap.PROT_READ, flags, -1, 0) != START:
            return None
    except OSError:
        return None
    _room[:] = [START, START + size_gb * GB]
    return START, START + -(-size_gb // STEP_GB) * STEP_GB * GB


def map_file(descriptor: int, size: int) -> int:
    """Map the first `size` bytes of an open file to be read, with zeroes behind them; it stays as long as the process.

    Args:
        descriptor: may be closed afterwards. The pages of a file on a tmpfs count as memory once they are read.
        size: of the file, in bytes, above 0.

    Returns:
        The address.

    Raises:
        OSError: there is no window, or no room in it (ENOMEM), or the file cannot be mapped.
    """
    address, end = _room
    behind = address + -(-(size + TERMINATOR_BYTES) // mmap.PAGESIZE) * mmap.PAGESIZE
    if behind > end:
        raise OSError(errno.ENOMEM, f"{size:,} bytes do not fit: {end - address:,} are left for files that are mapped")
    linux.syscall("mmap", address, size, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, descriptor, 0)
    _room[0] = behind
    return address
