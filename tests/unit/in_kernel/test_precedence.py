"""A kernel's niceness where the system has it, is asked too often, or has it not."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from rlm_kernel_mcp.in_kernel import precedence


def test_where_sessions_are_no_groups_the_process_alone_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A /proc without such a file is not a reason not to start."""
    lowered: list[int] = []
    monkeypatch.setattr(os, "nice", lowered.append)
    procfs = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        group = precedence.lower_process(procfs)
    finally:
        os.close(procfs)
    assert (group, lowered) == (-1, [precedence.NICENESS])
    precedence.lower_session(group)


def test_a_session_is_weighed_once_and_its_descriptor_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What user code would inherit could take it back."""
    monkeypatch.setattr(os, "nice", lambda _: None)
    (tmp_path / "self").mkdir()
    file = tmp_path / "self" / "autogroup"
    file.touch()
    procfs = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    group = precedence.lower_process(procfs)
    os.close(procfs)
    precedence.lower_session(group)
    assert file.read_text() == str(precedence.NICENESS)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(group)


def test_a_system_that_says_again_is_asked_again_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux does to users other than root: a full pipe answers so for good, one that is read does not."""
    reading, writing = os.pipe2(os.O_NONBLOCK)
    try:
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        assert os.write(writing, bytes(1 << 20)) == 4096
        waited: list[float] = []
        monkeypatch.setattr(time, "sleep", waited.append)
        precedence.lower_session(os.dup(writing))
        assert len(waited) == precedence.TRIES
        monkeypatch.setattr(time, "sleep", lambda _: os.read(reading, 1 << 20))
        precedence.lower_session(os.dup(writing))
        assert os.read(reading, 64) == b"%d" % precedence.NICENESS
    finally:
        os.close(reading)
        os.close(writing)
