"""What `rlm-kernel-mcp doctor` says of the session store: whether all of it is what was written.

Is: lines for a person. Is not: a repair; what is damaged stays where it is. Above: `doctor.py`. Below: the store.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.database.file import FILE_NAME
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.text.wording import counted


def store_lines(settings: Settings) -> Iterator[str]:
    """What the store holds, and what of it is damaged; where there is none, none is made."""
    if _could_be_made(settings.state_dir):
        yield "No session has been recorded yet (RLM_STATE_DIR)."
        return
    store = Store.open(settings.state_dir)
    try:
        found = len(store.session_keys())
        faults = list(store.faults())
        if store.problem:
            yield store.problem
        elif not faults:
            yield f"The session store is intact: {counted(found, 'session')}."
        for fault in faults:
            yield f"DAMAGED in the session store, and left out: {fault}."
        aside: list[str] = []
        with suppress(PermissionError):  # it is about a directory above
            aside = sorted(path.name for path in settings.state_dir.glob("sessions.db.damaged-*[0-9]Z"))
        for name in aside:
            yield f"A damaged session store was set aside as {name}; delete it if nobody wants to repair it."
    finally:
        store.close()


def _could_be_made(directory: Path) -> bool:
    """Whether the store is missing but could be made: tried where it would lie, as mode bits alone do not tell."""
    try:
        if (directory / FILE_NAME).exists():
            return False
        above = next(parent for parent in (directory, *directory.parents) if parent.exists())
        with tempfile.TemporaryDirectory(prefix=".rlm-doctor-", dir=above):
            return True
    except OSError:
        return False
