"""What a window for files of 64 GB lets a session do: read, and nothing that the machine would not have back."""

from __future__ import annotations

import pytest

from tests.escape.bombs.machine import GROWTH_BYTES_MAX, Machine

EITHER_TIER = pytest.mark.parametrize(
    "machine", ["ns-any", pytest.param("lock-any", marks=pytest.mark.slow)], indirect=True
)
WINDOW = """
import ctypes
from rlm_kernel_mcp.in_kernel.walls.window import GB, START
def read_all(gigabytes):
    for place in range(START, START + gigabytes * GB, 2 << 20):
        ctypes.string_at(place, 1)
"""
WINDOW_OVER_AND_OVER = f"""{WINDOW}
while True:
    read_all(64)
"""
PAGES_FAR_APART = """
import ctypes, mmap
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
def page(number):
    address = libc.mmap((1 << 44) - (number + 8 << 30), 4096, 1, 0x22, -1, 0)
    if address == ctypes.c_void_p(-1).value:
        raise MemoryError("no more")
    ctypes.string_at(address, 1)
"""
HOLES = f"""{WINDOW}
import os
from rlm_kernel_mcp.in_kernel.walls.window import map_file
for number in range(20):
    file = os.open(f"{{scratch}}/{{number}}", os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 60 << 20)
    address = map_file(file, 60 << 20)
    for place in range(address, address + (60 << 20), 4096):
        ctypes.string_at(place, 1)
    print(number, flush=True)
"""


@EITHER_TIER
def test_the_whole_window_can_be_read(machine: Machine, session: str) -> None:
    """It is empty pages, of which there is one; what is counted is the tables that lead to them: 1 MB for 512 MB."""
    report = machine.client.run(session, f"{WINDOW}\nread_all(16)")
    assert (report["status"], report["lost"]) == ("ok", None), report


@EITHER_TIER
def test_tables_beyond_the_limit_are_memory_that_the_host_sees(machine: Machine, session: str) -> None:
    """128 MB for the whole window, where the session has 64: told once, and the kernel lives."""
    report = machine.client.run(session, WINDOW_OVER_AND_OVER, max_output_chars=2000)
    assert (report["status"], report["error"]["ename"], report["lost"]) == ("error", "MemoryError", None), report
    assert "64 MB" in report["error"]["evalue"]


@EITHER_TIER
def test_pages_far_apart_whose_tables_are_the_most_of_them_are_counted_too(machine: Machine, session: str) -> None:
    """No limit of the system's counts tables: it ends as a MemoryError does, or by the host, which says so."""
    before = machine.host_bytes(session)
    code = f"{PAGES_FAR_APART}\nfor number in range(12_000):\n    page(number)\nwhile True:\n    pass"
    report = machine.client.run(session, code, max_output_chars=2000)
    assert (report["status"], report["error"]["ename"]) == ("error", "MemoryError"), report
    assert "64 MB" in report["error"]["evalue"], "it was refused a page before the host saw the tables"
    machine.still_has_its_value(session, lost=True)
    assert machine.host_bytes(session) - before < GROWTH_BYTES_MAX


@pytest.mark.parametrize("machine", ["ns-any"], indirect=True)
def test_holes_of_files_in_the_scratch_directory_are_memory_once_they_are_read_up_to_its_quota(
    machine: Machine, session: str
) -> None:
    """A tmpfs fills what is read by way of a mapping: that counts as memory, and the quota bounds it over all files."""
    report = machine.client.run(session, HOLES, max_output_chars=2000)
    assert report["status"] in ("error", "kernel_died"), report
    assert report["stdout"] in ("", "0\n"), "more than the quota was had"
    machine.still_has_its_value(session, lost=True)
