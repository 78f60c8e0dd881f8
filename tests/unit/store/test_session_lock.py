"""A session's lock says which server has the session, and never that this one is another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from rlm_kernel_mcp.store import session_lock
from rlm_kernel_mcp.store.session_lock import SessionLock, sweep_locks, take_lock


def test_a_sweep_of_this_process_is_not_taken_for_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a server was killed the next one sweeps as its first clients come back to their sessions."""
    taken = take_lock(tmp_path, "s_killed")
    assert taken is not None
    (tmp_path / session_lock.DIRECTORY_NAME / "s_left.lock").touch()
    at_work, go_on = threading.Event(), threading.Event()
    release = SessionLock.release

    def slow(lock: SessionLock) -> None:
        at_work.set()
        assert go_on.wait(60)
        release(lock)

    monkeypatch.setattr(SessionLock, "release", slow)
    with ThreadPoolExecutor(2) as threads:
        sweeping = threads.submit(sweep_locks, tmp_path)
        assert at_work.wait(60)
        taking = threads.submit(take_lock, tmp_path, "s_left")
        wait([taking], timeout=0.1)  # what would not wait for its turn has given up by now
        go_on.set()
        sweeping.result(60)
        lock = taking.result(60)
    assert lock is not None
    for one in (lock, taken):
        release(one)
