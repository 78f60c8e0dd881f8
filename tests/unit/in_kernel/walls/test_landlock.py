"""Landlock's ruleset for each version of the kernel's interface."""

from __future__ import annotations

import struct

import pytest

from rlm_kernel_mcp.in_kernel.walls import landlock


@pytest.mark.parametrize(
    ("version", "files", "tcp", "scopes", "size"),
    [
        (1, 0x1FFF, 0, 0, 8),
        (2, 0x3FFF, 0, 0, 8),
        (3, 0x7FFF, 0, 0, 8),
        (4, 0x7FFF, 3, 0, 16),
        (5, 0xFFFF, 3, 0, 16),
        (6, 0xFFFF, 3, 3, 24),
        (7, 0xFFFF, 3, 3, 24),
    ],
)
def test_each_abi_forbids_all_that_it_can(version: int, files: int, tcp: int, scopes: int, size: int) -> None:
    """An unknown bit or a longer structure would be refused as a whole."""
    assert struct.unpack("=QQQ", landlock.ruleset_attributes(version)) == (files, tcp, scopes)
    assert landlock.attributes_size(version) == size


def test_no_grant_lets_a_program_run_or_makes_a_link_or_a_device() -> None:
    """Reading is files and directories; writing is regular files and directories."""
    make_char, make_fifo, make_block, make_link = (1 << bit for bit in (6, 10, 11, 12))
    forbidden = (
        landlock.EXECUTE | landlock.MAKE_SOCK | landlock.IOCTL_DEV | make_char | make_fifo | make_block | make_link
    )
    assert not landlock.READ_WRITE & forbidden
    assert not landlock.READ & ~(landlock.READ_FILE | landlock.READ_DIR)


@pytest.mark.parametrize(("version", "behind_namespaces"), [(0, True), (0, False), (1, False), (2, False)])
def test_a_landlock_that_cannot_hold_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: int, behind_namespaces: bool
) -> None:
    """Before ABI 3 a file outside can be emptied by truncate(2), unless it is out of view."""
    monkeypatch.setattr(landlock, "abi", lambda: version)
    with pytest.raises(OSError, match="Landlock"):
        landlock.restrict((), behind_namespaces=behind_namespaces)
