"""The record as the commands read it, and which of its sessions a server drives just now.

Is: opening the store of this user's servers, or saying that it may not be looked at; finding a session of any of them.
Is not: the store, which a killed server leaves as it was. Above: `sessions.py`, `attach.py`, `trace.py`, `kill.py`,
`resume.py`, `files.py`, `choosing.py`. Below: the store, `session/listing.py`.
"""

from __future__ import annotations

import difflib
import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.session.listing import is_driven, is_live
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.database.file import FILE_NAME
from rlm_kernel_mcp.store.database.looking import LookedAt
from rlm_kernel_mcp.store.store import SessionRecord, Store

NAMED_MAX: Final = 5
"""How many sessions an error names, where there is no session of that id or none is given, the last used first."""
NEAR: Final = 0.8
"""How alike an id must be to be suggested: two of ten characters may differ or be missing."""


@contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """The store of this user's servers.

    Raises:
        SessionNotFound: there is no state directory, so no session was ever opened with these settings; or this user
            may not look into it; or the store in it cannot be read, or not to its end, and what it has is not known.
        InvalidInput: it is not a directory.
    """
    directory = settings.state_dir
    _require_directory(directory)
    store = Store.open(directory)
    try:
        _require_read(directory, store)
        if store.problem:
            print(f"rlm-kernel-mcp: {store.problem}", file=sys.stderr)
        yield store
        _require_read(directory, store)
    finally:
        store.close()


@contextmanager
def looked_at_store(settings: Settings) -> Iterator[Store]:
    """The same for who looks at it for long: it is opened for reading, and nothing in it is ever changed.

    Raises: as `opened_store`.
    """
    directory = settings.state_dir
    _require_directory(directory)
    store = Store(directory, LookedAt(directory))
    try:
        store.session_keys()
        _require_read(directory, store)
        yield store
    finally:
        store.close()


def may_have_record(directory: Path) -> bool:
    """Whether a store lies there, or nobody can tell: then a list that is empty would say what is not known."""
    try:
        (directory / FILE_NAME).lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _require_directory(directory: Path) -> None:
    try:
        mode = directory.stat().st_mode
        if stat.S_ISDIR(mode):
            next(directory.iterdir(), None)
            # Who only looks leaves no store behind. Where none could be made, its opening says why.
            if (directory / FILE_NAME).exists() or not os.access(directory, os.W_OK):
                return
            raise FileNotFoundError(errno.ENOENT, "there is no store")
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise SessionNotFound(
                f"This user may not look into {directory}, so it is not known which sessions are recorded there.",
                "Run this as the user whose server it is, or set RLM_STATE_DIR to the value that the server uses.",
            ) from None
        raise SessionNotFound(
            f"No session was ever recorded in {directory}.",
            "Set RLM_STATE_DIR to the value that the server uses, if it uses one.",
        ) from None
    raise InvalidInput(f"RLM_STATE_DIR names {directory}, which is not a directory.", "Correct the setting.")


def _require_read(directory: Path, store: Store) -> None:
    if store.unread:
        raise SessionNotFound(
            f"Which sessions are recorded in {directory} is not known. {store.unread}",
            "Nothing was changed there; set RLM_STATE_DIR if the server uses another directory.",
        )


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
        live = [found.session_id for found in newest_first if is_live(found)]
        known = f"live sessions: {named(live)}" if live else "there is no live session"
        nearest = f"the nearest id is {near[0]}; " if near else ""
        raise SessionNotFound(
            f"There is no session {session_id!r}; {nearest}{known}.",
            "List them with `rlm-kernel-mcp sessions --all`, which lists ended ones too.",
        )
    return record


def named(session_ids: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(session_ids) - NAMED_MAX:,} more" if len(session_ids) > NAMED_MAX else ""
    return ", ".join(session_ids[:NAMED_MAX]) + more


def has_kernel(store: Store, record: SessionRecord) -> bool:
    """Whether a console can attach now: an idle session's kernel may have been stopped."""
    return is_driven(store, record) and record.connection_file != "" and Path(record.connection_file).exists()
