"""A session cannot change a text on disk that others have too: by the descriptor, a mapping, or another opening."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.context.loader.spool import Spool, opened_anew
from rlm_kernel_mcp.errors import ContextTooLarge
from tests.sessions import SessionDriver, open_registry

pytestmark = pytest.mark.anyio

TEXT: Final = b"everybody's text\n" * 4_096
ATTACK: Final = """
import ctypes, mmap, os, socket
from rlm_kernel_mcp.wire import DESCRIPTOR_FD
_, (file,), _, _ = socket.recv_fds(socket.socket(fileno=os.dup(DESCRIPTOR_FD)), 1, 1)
size = os.fstat(file).st_size
libc = ctypes.CDLL(None, use_errno=True)

def shared(prot):
    with mmap.mmap(file, 4096, mmap.MAP_SHARED, prot) as mapped:
        mapped[:5] = b"MINE!"

def made_writable():
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    place = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    if libc.mprotect(place, 4096, mmap.PROT_READ | mmap.PROT_WRITE):
        raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.memmove(place, b"MINE!", 5)

def opened(path):
    other = os.open(path.format(file), os.O_RDWR)
    os.pwrite(other, b"MINE!", 0)

attempts = {
    "pwrite": lambda: os.pwrite(file, b"MINE!", 0),
    "write": lambda: os.write(file, b"MINE!"),
    "writev": lambda: os.pwritev(file, [b"MINE!"], 0),
    "mapped to write": lambda: shared(mmap.PROT_READ | mmap.PROT_WRITE),
    "mapped to read, then made writable": made_writable,
    "ftruncate": lambda: os.ftruncate(file, 1),
    "fallocate": lambda: os.posix_fallocate(file, 0, size + 4096),
    "sendfile": lambda: os.sendfile(file, os.open("/dev/urandom", os.O_RDONLY), 0, 5),
    "reopened by /proc/self/fd": lambda: opened("/proc/self/fd/{}"),
    "reopened by /dev/fd": lambda: opened("/dev/fd/{}"),
    "truncated by /proc/self/fd": lambda: os.truncate(f"/proc/self/fd/{file}", 1),
    "fchmod": lambda: os.fchmod(file, 0o777),
    "set to write by fcntl": lambda: __import__("fcntl").fcntl(file, 4, os.O_RDWR) or os.pwrite(file, b"MINE!", 0),
}
done = []
for name, attempt in attempts.items():
    try:
        attempt()
    except (OSError, ValueError, TypeError, PermissionError) as error:
        continue
    done.append(name)
print(done)
"""
LOCK: Final = {
    "required": ["rlimits", "no_new_privs", "not_dumpable", "capabilities", "landlock", "seccomp"],
    "wanted": [],
}


@pytest.mark.parametrize("walls", [{}, pytest.param({"walls": LOCK}, marks=pytest.mark.slow)], ids=["ns", "lock"])
async def test_a_session_that_writes_to_a_shared_text_changes_nothing(tmp_path: Path, walls: dict[str, Any]) -> None:
    """In either tier, whatever may be imported; on a file that can be written to, the same attempts do it."""
    spool = Spool(tmp_path, 1 << 30)
    file = spool.make()
    os.pwrite(file.writer, TEXT, 0)
    file.seal(len(TEXT))
    by_hand = {"RLM_IMPORT_POLICY": "any", "RLM_SUBCALL_BACKEND": "none"}  # it takes the descriptor that comes first
    async with open_registry(tmp_path / "state", policy=walls, **by_hand) as registry:
        session = await SessionDriver.open(registry)
        given = opened_anew(file.reader)
        session.kernel.pass_descriptor(given)
        os.close(given)
        assert (await session.ok(ATTACK)).stdout == "[]\n"
        assert os.pread(file.reader, len(TEXT) + 1, 0) == TEXT
        (tmp_path / "writable").write_bytes(TEXT)
        given = os.open(tmp_path / "writable", os.O_RDWR)
        session.kernel.pass_descriptor(given)
        os.close(given)
        control = (await session.ok(ATTACK)).stdout
        assert "pwrite" in control
        assert "mapped to write" in control
        assert "ftruncate" in control
    file.release()
    assert spool.used_bytes == 0


def test_a_place_in_the_file_is_each_reader_s_own(tmp_path: Path) -> None:
    """What one reads moves nobody else on."""
    spool = Spool(tmp_path, 1 << 30)
    file = spool.make()
    os.pwrite(file.writer, TEXT, 0)
    file.seal(len(TEXT))
    first, second = opened_anew(file.reader), opened_anew(file.reader)
    os.lseek(first, 100, os.SEEK_SET)
    assert os.read(second, 9) == TEXT[:9]
    for descriptor in (first, second):
        os.close(descriptor)
    file.release()


def test_a_text_on_disk_has_no_name_and_no_writer(tmp_path: Path) -> None:
    """Nothing of it is left, however the server ends."""
    spool = Spool(tmp_path, 1 << 30)
    file = spool.make()
    assert list((tmp_path / "spool").iterdir()) == []
    file.seal(0)
    assert os.fstat(file.reader).st_mode & 0o777 == 0o400
    assert file.writer == -1
    file.release()


def test_the_spool_has_an_end(tmp_path: Path) -> None:
    """All files together; what is released is there again."""
    spool = Spool(tmp_path, 100)
    first, second = spool.make(), spool.make()
    os.pwrite(first.writer, bytes(60), 0)
    os.pwrite(second.writer, bytes(50), 0)
    first.seal(60)
    with pytest.raises(ContextTooLarge, match=r"needs 50 bytes on disk; RLM_SPOOL_GB allows 100 .* 60 are in use"):
        second.seal(50)
    first.release()
    second.seal(50)
    assert spool.used_bytes == 50
    second.release()
