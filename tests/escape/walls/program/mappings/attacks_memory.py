"""Attacks on the limit of memory, each by a kind of memory that some limit does not count: how many MB were had."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path

from tests.escape.walls.program.mappings.attacks_window import (
    ANONYMOUS,
    DROPPABLE,
    GROWSDOWN,
    KEEP_OLD,
    LIBC,
    MAYMOVE,
    PRIVATE,
    READ,
    SHARED,
    VALIDATE,
    WRITE,
    checked,
    map_pages,
)
from tests.escape.walls.program.targets import Targets

MB = 1 << 20
PIECE = 4 * MB
MOST_MB = 4096
TOUCHED = b"x"


def _until_refused(take: Callable[[], int]) -> str:
    """Pieces are taken and written to until there are no more, or far too many."""
    taken = 0
    try:
        while taken < MOST_MB:
            address = take()
            for place in range(address, address + PIECE, mmap.PAGESIZE):
                ctypes.memmove(place, TOUCHED, 1)
            taken += PIECE // MB
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
    return str(taken)


def _mapped(flags: int) -> str:
    return _until_refused(lambda: map_pages(None, PIECE, READ | WRITE, flags | ANONYMOUS))


def map_private(targets: Targets) -> str:
    return _mapped(PRIVATE)


def map_shared(targets: Targets) -> str:
    return _mapped(SHARED)


def map_shared_that_is_checked(targets: Targets) -> str:
    """MAP_SHARED_VALIDATE is no kind of anonymous memory; if a later kernel has it, it counts."""
    try:
        return _mapped(VALIDATE)
    except OSError as error:
        return "0" if error.errno == errno.EINVAL else str(error)


def map_stacks(targets: Targets) -> str:
    return _mapped(PRIVATE | GROWSDOWN)


def map_droppable(targets: Targets) -> str:
    """Linux 6.11 has it."""
    try:
        return _mapped(DROPPABLE)
    except OSError as error:
        return "0" if error.errno == errno.EINVAL else str(error)


def grow_by_moving(targets: Targets) -> str:
    return _grown(PRIVATE)


def grow_shared_by_moving(targets: Targets) -> str:
    return _grown(SHARED)


def grow_stacks_by_moving(targets: Targets) -> str:
    return _grown(PRIVATE | GROWSDOWN)


def keep_the_place_of_what_moves(targets: Targets) -> str:
    """Each move leaves the old addresses, empty, to be written again."""
    area = map_pages(None, PIECE, READ | WRITE, PRIVATE | ANONYMOUS)

    def move() -> int:
        nonlocal area
        before, area = area, checked(LIBC.mremap(area, PIECE, PIECE, MAYMOVE | KEEP_OLD, None))
        return before

    return _until_refused(move)


def _grown(flags: int) -> str:
    size = PIECE
    area = map_pages(None, size, READ | WRITE, flags | ANONYMOUS)

    def grow() -> int:
        nonlocal area, size
        area = checked(LIBC.mremap(area, size, size + PIECE, MAYMOVE, None))
        size += PIECE
        return area + size - PIECE

    # The system does not grow shared memory in size, only the place for it: nothing is written there.
    if flags & SHARED:
        taken = 0
        try:
            while taken < MOST_MB:
                grow()
                taken += PIECE // MB
        except OSError:
            return str(taken)
    return _until_refused(grow)


def write_to_pages_of_a_file(targets: Targets) -> str:
    """Private pages of a file that was only to be read: the system makes copies of those that are written to."""
    with Path(os.__file__).open("rb") as file:
        size = os.fstat(file.fileno()).st_size // mmap.PAGESIZE * mmap.PAGESIZE
        taken = 0
        try:
            while taken < MOST_MB * MB:
                address = map_pages(None, size, READ, PRIVATE, file.fileno())
                checked(LIBC.mprotect(address, size, READ | WRITE))
                ctypes.memset(address, 1, size)
                taken += size
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
    return str(taken // MB)


def fill_the_addresses_and_make_them_writable(targets: Targets) -> str:
    """mprotect(2) does not ask RLIMIT_DATA once there is no room for a second mapping of the same size."""
    kept: list[tuple[int, int]] = []
    size = 64 << 30
    while size >= mmap.PAGESIZE:
        try:
            kept.append((map_pages(None, size, 0, PRIVATE | ANONYMOUS | 0x4000), size))
        except OSError:
            size //= 2
    places = [place for address, size in kept for place in range(address, address + size - PIECE + 1, PIECE)]

    def take() -> int:
        if not places:
            raise OSError(errno.ENOMEM, "no more")
        address = places.pop()
        checked(LIBC.mprotect(address, PIECE, READ | WRITE))
        return address

    return _until_refused(take)
