"""Which recorded sessions are alive: the store's rows, checked against the locks of live servers.

Is: finding a session of any of this user's servers. Is not: the store, which a killed server leaves as it was.
Above: `sessions.py`, `attach.py`, `trace.py`. Below: the store.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.store import SessionRecord, Store

NAMED_MAX: Final = 5
"""Live sessions that are named where another one was meant, the last used first."""
NEAR: Final = 0.8
"""How alike an id is that may have been meant: of ten characters two are others, or missing."""


@contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store of this user's servers.

    Raises:
        SessionNotFound: there is no state directory, so no session was ever opened with these settings.
        InvalidInput: it is not a directory.
    """
    if settings.state_dir.exists() and not settings.state_dir.is_dir():
        raise InvalidInput(
            f"RLM_STATE_DIR names {settings.state_dir}, which is not a directory.", "Correct the setting."
        )
    if not settings.state_dir.exists():
        raise SessionNotFound(
            f"No session was ever recorded in {settings.state_dir}.",
            "Set RLM_STATE_DIR to the value that the server uses, if it uses one.",
        )
    store = Store.open(settings.state_dir)
    try:
        if store.problem:
            print(f"rlm-kernel-mcp: {store.problem}", file=sys.stderr)
        yield store
    finally:
        store.close()


def find_session(store: Store, session_id: str) -> SessionRecord:
    """The record of a session.

    Raises:
        SessionNotFound: there is none; the message has the live ones.
    """
    record = store.session(session_id, whole=False)
    if record is None:
        recorded = store.sessions()
        near = difflib.get_close_matches(session_id, [found.session_id for found in recorded], n=1, cutoff=NEAR)
        newest_first = sorted(recorded, key=lambda found: found.last_used_at, reverse=True)
        live = [found.session_id for found in newest_first if is_live(store, found)]
        more = f" and {len(live) - NAMED_MAX:,} more" if len(live) > NAMED_MAX else ""
        known = f"live sessions: {', '.join(live[:NAMED_MAX])}{more}" if live else "there is no live session"
        nearest = f"the nearest id is {near[0]}; " if near else ""
        raise SessionNotFound(
            f"There is no session {session_id!r}; {nearest}{known}.",
            "List them with `rlm-kernel-mcp sessions --all`, which lists ended ones too.",
        )
    return record


def is_live(store: Store, record: SessionRecord) -> bool:
    """Whether a living server drives the session: it holds a lock that dies with it."""
    return record.status != "finalized" and store.holder(record.session_id) is not None


def has_kernel(store: Store, record: SessionRecord) -> bool:
    """Whether a console can attach now: an idle session's kernel may have been stopped."""
    return is_live(store, record) and record.connection_file != "" and Path(record.connection_file).exists()
