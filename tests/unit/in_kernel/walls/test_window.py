"""The window for files, in a process of its own that no filter holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

BEGIN = """
import ctypes, os, resource, sys
from rlm_kernel_mcp.in_kernel.walls.window import GB, START, map_file, take
libc = ctypes.CDLL(None)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
"""


def said(code: str, *arguments: str) -> str:
    """What a program printed that ended well."""
    command = [sys.executable, "-c", BEGIN + code, *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(("size_gb", "closed_gb"), [(64, 64), (1, 4), (5, 8)], ids=lambda value: f"{value} GB")
def test_what_the_filter_must_close_is_the_window_in_whole_words(size_gb: int, closed_gb: int) -> None:
    """Of 4 GB each; what lies behind the window counts as addresses anywhere do."""
    code = f"first, end = take({size_gb}, 64)\nprint(first == START, (end - first) / GB, ctypes.string_at(START, 1))"
    assert said(code) == f"True {closed_gb}.0 b'\\x00'"


@pytest.mark.parametrize(("limit_gb", "memory_mb", "had"), [(70, 1024, True), (66, 1024, True), (66, 8192, False)])
def test_a_limit_of_addresses_that_was_there_leaves_the_memory_its_room(
    limit_gb: int, memory_mb: int, had: bool
) -> None:
    """Else a window would be had, and a session with a part of its memory."""
    limited = f"resource.setrlimit(resource.RLIMIT_AS, ({limit_gb} * GB, {limit_gb} * GB))\n"
    assert said(f"{limited}print(take(64, {memory_mb}) is not None)") == str(had)


def test_none_is_had_where_none_is_asked_for_or_its_place_is_taken() -> None:
    """The kernel does without."""
    assert said("print(take(0, 64), take(1, 64) is not None, take(1, 64))") == "None True None"


def test_a_file_lies_in_it_with_zeroes_behind_until_there_is_no_room(tmp_path: Path) -> None:
    """The next one lies behind it, on a page of its own."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * 4096)
    code = """
take(1, 64)
file = os.open(sys.argv[1], os.O_RDONLY)
first, second = map_file(file, 4096), map_file(file, 10)
print(first == START, second - first, ctypes.string_at(first + 4090, 10))
try:
    map_file(file, GB)
except OSError as error:
    print(error.errno)
"""
    assert said(code, str(file)) == f"True 8192 {b'x' * 6 + bytes(4)!r}\n12"


def test_without_the_filter_it_would_be_room_for_memory() -> None:
    """The control of the attacks on it: there is nothing but the filter between."""
    code = "take(1, 64)\nprint(libc.mprotect(START, GB, 3))\nctypes.memset(START, 1, 1 << 20)"
    assert said(code) == "0"
