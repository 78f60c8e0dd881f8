"""What stage B lets happen in the window for files, and beside it, on both machines."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.in_kernel.walls import syscalls
from rlm_kernel_mcp.in_kernel.walls.filters import bpf
from rlm_kernel_mcp.in_kernel.walls.window import START
from tests.unit.in_kernel.walls.bpf_machine import answer, kernel_filter

GB = 1 << 30
END = START + 64 * GB
PAGE = 4096
MOST = (1 << 64) - PAGE
TAG = 0xAB << 56
"""aarch64 overlooks the upper byte of an address that it unmaps, protects or moves."""
READ, READ_WRITE = 1, 3
SHARED_FIXED, PRIVATE_FIXED, ANONYMOUS = 0x11, 0x12, 0x20
HEAP, STACK = 0x5555_5555_0000, 0x7FFF_1234_5000

REFUSED: dict[str, tuple[str, tuple[int, ...]]] = {
    "all of it let go": ("munmap", (START, 64 * GB)),
    "a page let go": ("munmap", (START, PAGE)),
    "its last page let go": ("munmap", (END - PAGE, PAGE)),
    "a page let go by an address with a tag": ("munmap", (TAG | START, PAGE)),
    "let go from below": ("munmap", (START - PAGE, 2 * PAGE)),
    "let go from far below": ("munmap", (HEAP >> 24, START)),
    "let go from the first address on": ("munmap", (0, START + PAGE)),
    "let go as far as addresses go": ("munmap", (START, (1 << 47) - START)),
    "made writable": ("mprotect", (START, PAGE, READ_WRITE)),
    "made writable from below": ("mprotect", (START - GB, 2 * GB, READ_WRITE)),
    "made writable by an address with a tag": ("mprotect", (TAG | START, PAGE, READ_WRITE)),
    "made unreadable": ("mprotect", (START, PAGE, 0)),
    "moved": ("mremap", (START, PAGE, PAGE, 1, 0)),
    "moved by an address with a tag": ("mremap", (TAG | START, PAGE, PAGE, 1, 0)),
    "made smaller": ("mremap", (START, GB, PAGE, 0, 0)),
    "memory moved to it": ("mremap", (HEAP, PAGE, PAGE, 3, START)),
    "memory moved to it, its old place kept": ("mremap", (HEAP, PAGE, PAGE, 7, START)),
    "memory moved to before it that reaches in": ("mremap", (HEAP, PAGE, 2 * PAGE, 3, START - PAGE)),
    "memory": ("mmap", (START, PAGE, READ_WRITE, PRIVATE_FIXED | ANONYMOUS, -1, 0)),
    "memory that can only be read as yet": ("mmap", (START, PAGE, READ, PRIVATE_FIXED | ANONYMOUS, -1, 0)),
    "memory from below": ("mmap", (START - PAGE, 2 * PAGE, READ_WRITE, PRIVATE_FIXED | ANONYMOUS, -1, 0)),
    "shared memory": ("mmap", (START, PAGE, READ, SHARED_FIXED | ANONYMOUS, -1, 0)),
    "shared memory, checked": ("mmap", (START, PAGE, READ, 0x13 | ANONYMOUS, -1, 0)),
    "memory that is dropped when short": ("mmap", (START, PAGE, READ, 0x18 | ANONYMOUS, -1, 0)),
    "a stack": ("mmap", (START, PAGE, READ, PRIVATE_FIXED | ANONYMOUS | 0x100, -1, 0)),
    "a file's own pages": ("mmap", (START, PAGE, READ_WRITE, PRIVATE_FIXED, 5, 0)),
    "a file's pages to be written later": ("mmap", (START, PAGE, READ, PRIVATE_FIXED, 5, 0)),
    "a file to be written": ("mmap", (START, PAGE, READ_WRITE, SHARED_FIXED, 5, 0)),
    "a file to be run": ("mmap", (START, PAGE, 5, SHARED_FIXED, 5, 0)),
    "a file that is locked in memory": ("mmap", (START, PAGE, READ, SHARED_FIXED | 0x2000, 5, 0)),
}
ALLOWED: dict[str, tuple[str, tuple[int, ...]]] = {
    "a file to be read": ("mmap", (START, GB, READ, SHARED_FIXED, 5, 0)),
    "a file to be read at its end": ("mmap", (END - PAGE, PAGE, READ, SHARED_FIXED, 5, 0)),
    "memory elsewhere": ("mmap", (0, 16 * GB, READ_WRITE, 0x22, -1, 0)),
    "shared memory elsewhere": ("mmap", (0, GB, READ_WRITE, 0x21, -1, 0)),
    "a file elsewhere": ("mmap", (0, GB, READ, 2, 5, 0)),
    "a library's data at its place": ("mmap", (STACK, GB, READ_WRITE, 0x812, 5, 0)),
    "memory elsewhere let go": ("munmap", (STACK, GB)),
    "memory right behind it let go": ("munmap", (END, GB)),
    "memory 8 GB before it let go": ("munmap", (START - 9 * GB, GB)),
    "the heap made writable": ("mprotect", (HEAP, GB, READ_WRITE)),
    "memory elsewhere that grows": ("mremap", (HEAP, GB, 2 * GB, 1, START)),
    "memory elsewhere moved to a place": ("mremap", (HEAP, GB, GB, 3, STACK)),
}


@pytest.mark.parametrize("libraries", [False, True], ids=["allowlist", "any"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
class TestWindow:
    """Under both import policies, whose calls of mmap(2) have different bodies."""

    @pytest.mark.parametrize(("call", "arguments"), REFUSED.values(), ids=REFUSED)
    def test_nothing_but_a_file_to_be_read_takes_its_place(
        self, machine: str, libraries: bool, call: str, arguments: tuple[int, ...]
    ) -> None:
        """Whatever else lay there, or could be had for it, no limit of memory would count."""
        assert self.decided(machine, libraries, call, arguments) == bpf.REFUSE

    @pytest.mark.parametrize(("call", "arguments"), ALLOWED.values(), ids=ALLOWED)
    def test_a_file_is_mapped_and_memory_elsewhere_is_as_it_was(
        self, machine: str, libraries: bool, call: str, arguments: tuple[int, ...]
    ) -> None:
        """The fourth argument of mremap(2) says whether there is a fifth."""
        assert self.decided(machine, libraries, call, arguments) == bpf.ALLOW

    @pytest.mark.parametrize("call", ["munmap", "mprotect", "mremap", "mmap"])
    def test_a_range_goes_unseen_only_where_it_has_no_end(self, machine: str, libraries: bool, call: str) -> None:
        """That is past the largest address, where the kernel refuses it: for each length, and each place before it."""
        for length in (1 << bit for bit in range(12, 64)):
            for address in (START - (1 << bit) for bit in range(12, 44)):
                reaches = START < address + length < 1 << 64
                seen = self.decided(machine, libraries, call, (address, length, READ_WRITE, 0x22, 0)) == bpf.REFUSE
                assert seen or not reaches, (hex(address), hex(length))

    @staticmethod
    def decided(machine: str, libraries: bool, call: str, arguments: tuple[int, ...]) -> int:
        program = kernel_filter(machine, "B", 4242, map_libraries=libraries, window=(START, END))
        return answer(program, syscalls.audit_arch(machine), syscalls.syscall_numbers(machine)[call], *arguments)
