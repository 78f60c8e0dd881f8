"""The file that sets the weight of a session, where the system has it and where it has not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rlm_kernel_mcp.in_kernel.precedence import WEIGHT, tell_weight


def test_where_sessions_are_no_groups_there_is_no_file(tmp_path: Path) -> None:
    """A /proc without one is not a reason not to start."""
    host, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    host.setblocking(False)
    procfs = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        tell_weight(procfs, kernel.fileno())
        tell_weight(procfs, -1)
        with pytest.raises(BlockingIOError):
            host.recv(64)
        (tmp_path / "self").mkdir()
        (tmp_path / "self" / "autogroup").touch()
        tell_weight(procfs, kernel.fileno())
        words, [weight], _, _ = socket.recv_fds(host, 64, 1)
        assert words == WEIGHT
        os.write(weight, b"10")
        os.close(weight)
        assert (tmp_path / "self" / "autogroup").read_bytes() == b"10"
    finally:
        os.close(procfs)
        host.close()
        kernel.close()
