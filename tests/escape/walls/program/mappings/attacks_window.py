"""Attacks on the window for files: what would make room there that no limit of memory counts."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

from rlm_kernel_mcp.in_kernel.walls.window import GB, START
from tests.escape.walls.program.targets import Targets, call

PAGE = mmap.PAGESIZE
READ, WRITE = mmap.PROT_READ, mmap.PROT_WRITE
SHARED, PRIVATE, FIXED, ANONYMOUS = 1, 2, 0x10, 0x20
VALIDATE, DROPPABLE, GROWSDOWN, LOCKED = 3, 8, 0x100, 0x2000
MADV_POPULATE_WRITE = 23
MAYMOVE, TO_A_PLACE, KEEP_OLD = 1, 2, 4

LIBC = ctypes.CDLL(None, use_errno=True)
"""With types of its own for these calls."""
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.mremap.restype = ctypes.c_void_p
LIBC.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p]


def checked(result: int | None) -> int:
    """What mmap(2) and its kin return.

    Raises:
        OSError: with the kernel's errno.
    """
    if result is None or result in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def map_pages(address: int | None, size: int, protection: int, flags: int, descriptor: int = -1) -> int:
    return checked(LIBC.mmap(address, size, protection, flags, descriptor, 0))


def _own_page() -> int:
    return map_pages(None, PAGE, READ | WRITE, PRIVATE | ANONYMOUS)


def let_it_go(targets: Targets) -> None:
    checked(LIBC.munmap(START, 64 * GB))


def let_a_page_of_it_go(targets: Targets) -> None:
    checked(LIBC.munmap(START + GB, PAGE))


def let_it_go_from_below(targets: Targets) -> None:
    checked(LIBC.munmap(START - GB, 2 * GB))


def make_it_writable(targets: Targets) -> None:
    checked(LIBC.mprotect(START, 64 * GB, READ | WRITE))


def make_it_writable_from_below(targets: Targets) -> None:
    map_pages(START - 16 * GB, PAGE, READ, PRIVATE | ANONYMOUS | FIXED)
    checked(LIBC.mprotect(START - PAGE, 2 * PAGE, READ | WRITE))


def fill_it_as_if_written(targets: Targets) -> None:
    call("madvise", START, GB, MADV_POPULATE_WRITE)


def move_it_out(targets: Targets) -> None:
    checked(LIBC.mremap(START, GB, GB, MAYMOVE, None))


def make_it_smaller(targets: Targets) -> None:
    checked(LIBC.mremap(START, GB, PAGE, 0, None))


def move_memory_into_it(targets: Targets) -> None:
    checked(LIBC.mremap(_own_page(), PAGE, PAGE, MAYMOVE | TO_A_PLACE, START))


def move_memory_into_it_and_keep_the_place(targets: Targets) -> None:
    checked(LIBC.mremap(_own_page(), PAGE, PAGE, MAYMOVE | TO_A_PLACE | KEEP_OLD, START))


def put_memory_into_it(targets: Targets) -> None:
    map_pages(START, GB, READ | WRITE, PRIVATE | ANONYMOUS | FIXED)


def put_shared_memory_into_it(targets: Targets) -> None:
    map_pages(START, GB, READ, SHARED | ANONYMOUS | FIXED)


def put_shared_memory_into_it_that_is_checked(targets: Targets) -> None:
    map_pages(START, GB, READ | WRITE, VALIDATE | ANONYMOUS | FIXED)


def put_memory_into_it_that_can_be_dropped(targets: Targets) -> None:
    map_pages(START, GB, READ | WRITE, DROPPABLE | ANONYMOUS | FIXED)


def put_a_stack_into_it(targets: Targets) -> None:
    map_pages(START + GB, GB, READ | WRITE, PRIVATE | ANONYMOUS | GROWSDOWN | FIXED)


def put_a_file_into_it_whose_pages_are_its_own(targets: Targets) -> None:
    with Path(os.__file__).open("rb") as file:
        map_pages(START, PAGE, READ, PRIVATE | FIXED, file.fileno())


def put_a_file_into_it_that_is_locked_in_memory(targets: Targets) -> None:
    with Path(os.__file__).open("rb") as file:
        map_pages(START, PAGE, READ, SHARED | FIXED | LOCKED, file.fileno())


def make_a_file_in_it_writable(targets: Targets) -> None:
    with Path(os.__file__).open("rb") as file:
        map_pages(START, PAGE, READ, SHARED | FIXED, file.fileno())
    checked(LIBC.mprotect(START, PAGE, READ | WRITE))


def open_what_is_memory_when_it_is_read(targets: Targets) -> None:
    with Path("/dev/zero").open("rb") as zero:
        map_pages(START, GB, READ, SHARED | FIXED, zero.fileno())
