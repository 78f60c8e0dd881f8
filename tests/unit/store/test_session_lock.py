"""A session's lock says which server has the session, and never that this one is another."""

from __future__ import annotations

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlm_kernel_mcp.store import session_lock
from rlm_kernel_mcp.store.session_lock import SessionLock, sweep_locks, take_lock


@pytest.mark.parametrize("left", ["", "999999999"])
def test_who_only_looks_at_a_lock_that_nobody_has_keeps_no_server_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """On a busy machine it may be kept from the processor in the middle of its look. `left`: by a server that died."""
    path = tmp_path / session_lock.DIRECTORY_NAME / "s_1.lock"
    path.parent.mkdir(0o700)
    path.write_text(left, encoding="ascii")
    looker, pauses = os.open(path, os.O_RDONLY), list[float]()
    fcntl.flock(looker, fcntl.LOCK_SH)

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            os.close(looker)

    monkeypatch.setattr(session_lock, "time", SimpleNamespace(sleep=pause, monotonic=lambda: 0.0))
    lock = take_lock(tmp_path, "s_1")
    assert lock is not None
    assert path.read_text(encoding="ascii") == str(os.getpid())
    lock.release()


def test_a_lock_that_another_server_has_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, pauses = take_lock(tmp_path, "s_1"), list[float]()
    assert lock is not None
    monkeypatch.setattr(session_lock, "time", SimpleNamespace(sleep=pauses.append, monotonic=lambda: 0.0))
    assert take_lock(tmp_path, "s_1") is None
    assert len(pauses) < 10
    lock.release()


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
