"""A file that is mapped to be read, in the window for files, is none of the session's memory, whatever its size."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.sessions import SessionDriver, open_registry

pytestmark = pytest.mark.anyio

GB = 1 << 30
MB = 1 << 20
RECEIVE = """
import ctypes, os, re, socket
from rlm_kernel_mcp.in_kernel.walls.window import map_file
from rlm_kernel_mcp.wire import DESCRIPTOR_FD
libc = ctypes.CDLL(None)
libc.memchr.restype = ctypes.c_void_p
libc.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_, (file,), _, _ = socket.recv_fds(socket.socket(fileno=os.dup(DESCRIPTOR_FD)), 1, 1)
size = os.fstat(file).st_size
address = map_file(file, size)
os.close(file)
"""
BY_HAND = {"RLM_IMPORT_POLICY": "any", "RLM_SUBCALL_BACKEND": "none"}
"""Code takes the descriptor that comes first; with a channel for questions that would be another."""
READ = "(libc.memchr(address + {start}, ord('e'), {length}) or address) - address"


def sparse_file(size: int, end: bytes = b"end") -> int:
    """A file of zeroes on a disk, and what it ends with; it is gone once nobody has it open."""
    descriptor, path = tempfile.mkstemp(dir="/var/tmp")
    Path(path).unlink()
    os.truncate(descriptor, size)
    os.pwrite(descriptor, end, size - len(end))
    return descriptor


async def failure(session: SessionDriver, code: str) -> str:
    """What a step ends with that must fail."""
    report = await session.run(code)
    error = report.error
    assert error is not None, report
    return error.ename


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "memory_mb"),
    [(384 * MB, 128), (10 * GB, 1024)],
    ids=["384 MB at 128 MB", "10 GB at 1 GB"],
)
async def test_reading_all_of_a_large_file_leaves_the_kernel_alive_and_the_watch_unmoved(
    tmp_path: Path, size: int, memory_mb: int
) -> None:
    """What the host counts of it is below 5 % of the limit: the tables that lead to its pages."""
    limit = {"limits": {"memory_mb": memory_mb}}
    async with open_registry(tmp_path, policy=limit, **BY_HAND) as registry:
        session = await SessionDriver.open(registry)
        before = session.kernel.process.memory_bytes()
        descriptor = sparse_file(size)
        session.kernel.pass_descriptor(descriptor)
        os.close(descriptor)
        await session.ok(RECEIVE)
        found = [
            (await session.ok(READ.format(start=start, length=min(GB, size - start)))).result
            for start in range(0, size, GB)
        ]
        assert found[-1] == str(size - 3)
        assert session.kernel.process.memory_bytes() - before < 0.05 * memory_mb * MB
        # A kernel that holds nothing has room for all but a page of the limit, and that if its heap has not shrunk.
        await session.ok("held = bytearray(1 << 20)")
        assert await failure(session, f"bytes({memory_mb} << 20)") == "MemoryError"
        await session.ok(f"len(bytes({memory_mb // 2} << 20))")


async def test_the_window_has_room_for_many_files_and_an_end(tmp_path: Path) -> None:
    """As much as the policy says; behind a file are zeroes, also where it fills its pages."""
    async with open_registry(tmp_path, policy={"context": {"mapped_max_gb": 1}}, **BY_HAND) as registry:
        session = await SessionDriver.open(registry)
        descriptor = sparse_file(256 * MB, b"e" * 4096)
        session.kernel.pass_descriptor(descriptor)
        os.close(descriptor)
        await session.ok(RECEIVE.replace("os.close(file)", ""))
        behind = await session.ok("ctypes.string_at(address + size - 1, 5)")
        assert behind.result == repr(b"e" + bytes(4))
        code = "places = [address]\nwhile True: places.append(map_file(file, size))"
        assert await failure(session, code) == "OSError"
        assert (await session.ok("len(places)")).result == "3"


async def test_a_policy_that_maps_nothing_leaves_no_window(tmp_path: Path) -> None:
    """No file is mapped there, and no address kept."""
    async with open_registry(tmp_path, policy={"context": {"mapped_max_gb": 0}}, **BY_HAND) as registry:
        session = await SessionDriver.open(registry)
        descriptor = sparse_file(MB)
        session.kernel.pass_descriptor(descriptor)
        os.close(descriptor)
        assert await failure(session, RECEIVE) == "OSError"
        assert session.kernel.walls[0]["name"] == "rlimits"
        assert "mapped" not in session.kernel.walls[0]["detail"]
