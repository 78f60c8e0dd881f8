"""Which sessions have a kernel just now, by the record: what the server of `lab` lists.

Is: a look at the store, and at each connection file, of which every part is checked. Is not: a session of our own, nor
the kernels (`kernels.py`). Above: `kernels.py`. Below: the store, `session/listing.py`.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.session.listing import is_driven, is_live
from rlm_kernel_mcp.store.database.file import FILE_NAME
from rlm_kernel_mcp.store.database.looking import LookedAt
from rlm_kernel_mcp.store.store import SessionRecord, Store

FILE_BYTES_MAX: Final = 4_096
"""Of a connection file."""
CHANNELS: Final = ("shell", "iopub", "stdin", "hb", "control")
SCHEME: Final = "hmac-sha256"


@dataclass(frozen=True, slots=True)
class Place:
    """Where one session's kernel is."""

    session_id: str
    connection_file: str
    pid: int
    """With the file it says which kernel of the session it is: one that was replaced has another."""
    is_busy: bool


class Record:
    """The record of this user's servers. It is only looked at, however long."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / FILE_NAME
        self._store = Store(state_dir, LookedAt(state_dir))

    def places(self) -> list[Place] | None:
        """Of all sessions that have a kernel; None where the record cannot be read just now."""
        if not self._file.exists():
            return []
        live = [key.session_id for key in self._store.session_keys() if is_live(key)]
        found = [_place(record) for record in self._store.summaries(live) if self._has_kernel(record)]
        return None if self._store.unread else found

    def _has_kernel(self, record: SessionRecord) -> bool:
        named = record.connection_file
        return named != "" and os.path.exists(named) and is_driven(self._store, record)  # noqa: PTH110  (a text)

    def close(self) -> None:
        """Look no more."""
        self._store.close()


def _place(record: SessionRecord) -> Place:
    return Place(record.session_id, record.connection_file, record.kernel_pid, record.status == "running")


def connection_of(place: Place) -> dict[str, Any] | None:
    """What the connection file says; None where it is gone, or names any sockets but those beside it.

    Who could have it name others would be shown another session's kernel under this one's id.
    """
    file = Path(place.connection_file)
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read(FILE_BYTES_MAX) if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() else b""
        said = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or (said.get("transport"), said.get("signature_scheme")) != ("ipc", SCHEME):
        return None
    ip, key = said.get("ip"), said.get("key")
    if not isinstance(ip, str) or Path(ip).parent != file.parent or not isinstance(key, str) or not key:
        return None
    ports = {f"{channel}_port": said.get(f"{channel}_port") for channel in CHANNELS}
    if not all(type(port) is int and 0 < port < len(CHANNELS) + 1 for port in ports.values()):
        return None
    return {"transport": "ipc", "ip": ip, "key": key, "signature_scheme": SCHEME, **ports}
