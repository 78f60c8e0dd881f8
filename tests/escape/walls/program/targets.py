"""What an attack may aim at: canaries that the test made and looks at afterwards."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Targets:
    """Paths, ports and pids of the canaries, and the directories of this process."""

    scratch: str
    socket_dir: str
    canary_dir: str
    canary_file: str
    tcp_port: int
    udp_port: int
    stream_path: str
    datagram_path: str
    abstract_name: str
    peer_pid: int
    machine: str


def raw(number: int, *arguments: int | bytes | None) -> int:
    """A system call by number, past Python and the C library.

    Raises:
        OSError: with the kernel's errno.
    """
    words = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    LIBC.syscall.restype = ctypes.c_long
    result: int = LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def call(name: str, *arguments: int | bytes | None) -> int:
    """A function of the C library.

    Raises:
        OSError: with its errno.
    """
    words = [ctypes.c_long(value) if isinstance(value, int) else ctypes.c_char_p(value) for value in arguments]
    result: int = getattr(LIBC, name)(*words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
