"""Attacks on the operating system's kernel: calls that a session has no use for, and executable memory."""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import resource
import socket
from pathlib import Path

from tests.escape.walls.program import honest
from tests.escape.walls.program.targets import LIBC, Targets, call, raw

REFUSED: dict[str, dict[str, int]] = json.loads(Path(__file__).with_name("refused_calls.json").read_text("ascii"))
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
X32_BIT = 0x40000000


def make_any_refused_call(targets: Targets) -> dict[str, str]:
    """Each of the calls without use, with arguments that are valid for none; says which the filter let through."""
    passed = {}
    for name, number in REFUSED[targets.machine].items():
        try:
            passed[name] = str(raw(number, -1, 0, 0, 0, 0, 0))
        except PermissionError:
            continue
        except OSError as error:
            passed[name] = error.strerror or ""
    if passed:
        return passed
    raise PermissionError(1, "every one of them")


def map_writable_and_executable(targets: Targets) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def map_executable(targets: Targets) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)


def make_memory_executable(targets: Targets) -> None:
    area = mmap.mmap(-1, 4096)
    call("mprotect", ctypes.addressof(ctypes.c_char.from_buffer(area)), 4096, 5)


def map_a_file_executable(targets: Targets) -> None:
    with Path(os.__file__).open("rb") as file:
        mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)


def load_a_library(targets: Targets) -> str:
    return repr(ctypes.CDLL("libutil.so.1"))


def map_huge_pages(targets: Targets) -> None:
    mmap.mmap(-1, 2 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)


def type_into_the_terminal(targets: Targets) -> None:
    fcntl.ioctl(0, TIOCSTI, b"x")


def paste_into_the_console(targets: Targets) -> None:
    fcntl.ioctl(0, TIOCLINUX, b"\3")


def load_a_filter_of_its_own(targets: Targets) -> None:
    raw({"x86_64": 317, "aarch64": 277}[targets.machine], 1, 0, bytes(16))


def call_by_an_x32_number(targets: Targets) -> int:
    return raw(X32_BIT + 39)


def call_by_the_number_of_a_new_call(targets: Targets) -> int:
    return raw(470)


def call_as_a_32_bit_program(targets: Targets) -> str:
    """`int 0x80` with getpid's number; needs executable memory that was made before the walls rose (see honest.py)."""
    function = ctypes.CFUNCTYPE(ctypes.c_long)(honest.INT80["address"])
    return f"came back with {function()}"


def set_a_socket_filter(targets: Targets) -> None:
    ours, _ = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, 26, bytes(16))


def raise_its_own_limits(targets: Targets) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    except ValueError as error:
        raise PermissionError(1, "it would be above the hard limit") from error


def take_capabilities_back(targets: Targets) -> None:
    if LIBC.capset(ctypes.c_char_p(bytes([0x22, 0x05, 0x08, 0x20, 0, 0, 0, 0])), ctypes.c_char_p(b"\xff" * 24)):
        raise OSError(ctypes.get_errno(), "capset")
