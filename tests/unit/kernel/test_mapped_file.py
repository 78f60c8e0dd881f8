"""Why a kernel that had a file mapped has ended, as far as the file can tell."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.mapped_file import MappedFile


def mapped(path: Path, size: int) -> MappedFile:
    """A file of this size, as it is remembered."""
    path.write_bytes(bytes(size))
    descriptor = os.open(path, os.O_RDONLY)
    file = MappedFile.of(descriptor, size)
    os.close(descriptor)
    return file


@pytest.mark.parametrize("exit_code", [-signal.SIGBUS, 128 + signal.SIGBUS], ids=["by its parent", "by a monitor"])
def test_a_file_that_is_shorter_than_it_was_explains_a_sigbus(tmp_path: Path, exit_code: int) -> None:
    """Both lengths are told; a file under the same name is another one."""
    file = mapped(tmp_path / "file", 5000)
    assert file.end_by(exit_code) is None
    os.truncate(tmp_path / "file", 1234)
    (tmp_path / "file").rename(tmp_path / "moved")
    (tmp_path / "file").write_bytes(bytes(9000))
    assert file.end_by(exit_code) == (
        "the context's file was truncated to 1,234 bytes; it had 5,000 when it was mapped"
    )
    file.close()


@pytest.mark.parametrize("exit_code", [-signal.SIGSEGV, 128 + signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT])
def test_a_file_that_was_written_to_may_explain_a_crash(tmp_path: Path, exit_code: int) -> None:
    """A text that Python knows as ASCII has other bytes then; and nothing is said of one that has not."""
    file = mapped(tmp_path / "file", 5000)
    assert file.end_by(exit_code) is None
    with (tmp_path / "file").open("r+b") as written:
        written.write(b"\xff")
    assert file.end_by(exit_code) == ("the context's file was written to while it was mapped, which can break its text")
    assert file.end_by(-signal.SIGKILL) is None
    file.close()


@pytest.mark.parametrize("exit_code", [-signal.SIGKILL, 0, 1, -signal.SIGTERM])
def test_it_explains_no_other_end(tmp_path: Path, exit_code: int) -> None:
    """Whatever became of it meanwhile."""
    file = mapped(tmp_path / "file", 5000)
    os.truncate(tmp_path / "file", 0)
    assert file.end_by(exit_code) is None
    file.close()


def test_what_was_let_go_says_nothing(tmp_path: Path) -> None:
    """And is let go once."""
    file = mapped(tmp_path / "file", 5000)
    file.close()
    file.close()
    assert file.end_by(-signal.SIGBUS) is None
