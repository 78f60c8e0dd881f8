"""Attacks on what is bounded: memory, descriptors, threads, the scratch directory's bytes and files."""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from contextlib import suppress
from pathlib import Path

from rlm_kernel_mcp.in_kernel.walls.limits import soft_memory
from tests.escape.walls.program.targets import LIBC, Targets

MB = 1 << 20
DEPTH = 3000
MOST = 1000
THREAD = 0x3D0F00
_KEPT: list[object] = []


def fill_memory_then_go_on(targets: Targets) -> str:
    """As a step: the soft limit is in force while it runs, lifted when it ends."""
    soft_memory(True)
    blocks: list[bytearray] = []
    with suppress(MemoryError):
        while True:
            blocks.append(bytearray(MB))
    soft_memory(False)
    taken = len(blocks)
    report = "x" * (8 * MB)  # there is room to report the end although the blocks are still held
    del blocks, report
    soft_memory(True)
    del soft_memory_blocks(4)[:]
    soft_memory(False)
    return str(taken)


def soft_memory_blocks(count: int) -> list[bytearray]:
    return [bytearray(MB) for _ in range(count)]


def fill_shared_memory(targets: Targets) -> str:
    areas: list[mmap.mmap] = []
    with suppress(OSError):
        while True:
            areas.append(mmap.mmap(-1, 16 * MB))
    return str(len(areas) * 16)


def open_descriptors_without_end(targets: Targets) -> str:
    pairs: list[tuple[int, int]] = []
    with suppress(OSError):
        while True:
            pairs.append(os.pipe())
    taken = len(pairs) * 2
    for pair in pairs:
        os.close(pair[0])
        os.close(pair[1])
    return str(taken)


def start_threads_without_end(targets: Targets) -> str:
    end = threading.Event()
    started: list[threading.Thread] = []
    with suppress(RuntimeError, MemoryError):
        while len(started) < MOST:
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
    end.set()
    for thread in started:
        thread.join()
    return str(len(started))


def start_threads_with_small_stacks(targets: Targets) -> str:
    """The address space has room for thousands of them."""
    threading.stack_size(32 << 10)
    return start_threads_without_end(targets)


def clone_threads_with_tiny_stacks(targets: Targets) -> str:
    """Past Python and the C library's own way to a thread; each takes the system's memory, which counts nowhere."""
    stacks, local = ctypes.create_string_buffer(512 * MOST), ctypes.create_string_buffer(32 << 10)
    number = ctypes.byref(ctypes.c_long())
    _KEPT.extend((stacks, local, number))  # they wait to the end
    LIBC.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 4]
    pause = ctypes.cast(LIBC.pause, ctypes.c_void_p)
    base, storage = ctypes.addressof(stacks), ctypes.addressof(local) + (16 << 10)
    for offset in (0, 16):  # where the C library looks for the thread itself
        ctypes.c_void_p.from_address(storage + offset).value = storage
    made = 0
    while made < MOST and LIBC.clone(pause, base + 512 * (made + 1), THREAD, None, number, storage, number) > 0:
        made += 1
    return str(made)


def write_one_large_file(targets: Targets) -> str:
    return str(_fill(Path(targets.scratch, "large")))


def write_many_large_files(targets: Targets) -> str:
    total = 0
    for number in range(8):
        total += _fill(Path(targets.scratch, f"large-{number}"))
    return str(total)


def _fill(path: Path) -> int:
    written = 0
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                written += file.write(bytes(MB))
        except OSError:
            return written


def make_a_sparse_file(targets: Targets) -> None:
    with Path(targets.scratch, "sparse").open("wb") as file:
        file.truncate(1 << 40)


def write_many_small_files(targets: Targets) -> str:
    made = 0
    with suppress(OSError):
        while made < 100_000:
            Path(targets.scratch, f"small-{made}").touch()
            made += 1
    return str(made)


def nest_directories_deeply(targets: Targets) -> str:
    os.chdir(targets.scratch)
    made = 0
    with suppress(OSError):
        while made < DEPTH:
            os.mkdir("d")
            os.chdir("d")
            made += 1
    os.chdir(targets.scratch)
    return str(made)
