"""What a host takes for a host that has ended."""

from __future__ import annotations

import os

from rlm_kernel_mcp.host.upgrade import has_ended


def test_a_process_whose_parent_has_not_noticed_its_end_has_ended() -> None:
    """A machine's first process may take its time over that, and nothing listens at such a host's socket."""
    pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(pid)
    os.waitpid(pid, 0)
    assert has_ended(pid)


def test_a_process_that_runs_has_not() -> None:
    assert not has_ended(os.getpid())
    assert not has_ended(1)
