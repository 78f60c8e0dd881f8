"""Which recorded sessions are alive: the store's rows, held against the run folders of living servers.

Is: finding a session of any of this user's servers. Is not: the store, which a killed server leaves as it was.
Above: `sessions.py`, `attach.py`, `trace.py`. Below: the store, `kernel/rundir.py`'s lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.kernel.rundir import LOCK_NAME
from rlm_kernel_mcp.session.store import SessionRecord, Store
from rlm_kernel_mcp.settings import Settings


@contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store of this user's servers.

    Raises:
        SessionNotFound: there is no state folder, so no session was ever opened with these settings.
    """
    if not settings.state_dir.is_dir():
        raise SessionNotFound(
            f"No session was ever recorded in {settings.state_dir}.",
            "Set RLM_STATE_DIR to what the server has, if the server has one.",
        )
    store = Store.open(settings.state_dir)
    try:
        yield store
    finally:
        store.close()


def find_session(store: Store, session_id: str) -> SessionRecord:
    """The record of a session.

    Raises:
        SessionNotFound: there is none; the message has the live ones.
    """
    record = store.session(session_id)
    if record is None:
        live = [found.session_id for found in store.sessions() if is_live(found)]
        known = f"live sessions: {', '.join(live)}" if live else "there is no live session"
        raise SessionNotFound(
            f"There is no session {session_id!r}; {known}.", "List them with `rlm-kernel-mcp sessions`."
        )
    return record


def is_live(record: SessionRecord) -> bool:
    """Whether the session's server lives and the session has not ended."""
    return record.status not in ("finalized", "dead") and _is_held(Path(record.connection_file or os.devnull))


def has_kernel(record: SessionRecord) -> bool:
    """Whether a console can attach now: an idle kernel may have been stopped."""
    return is_live(record) and Path(record.connection_file).exists()


def _is_held(connection_file: Path) -> bool:
    """Whether the server that made this file lives: it holds a lock that dies with it."""
    folder = connection_file.parents[2] if len(connection_file.parents) > 2 else connection_file
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
