"""When SQLite's log is written back into the store's file: off the event loop, since that waits for the disk.

Is: a thread now and then, and how long others wait for it. Is not: the log itself (write-ahead), which is SQLite's.
Above: `database.py`. Below: `file.py`, `damage.py`.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.store.database.damage import FAILURES
from rlm_kernel_mcp.store.database.file import connect, explain_error
from rlm_kernel_mcp.store.database.schema import PAGE_BYTES
from rlm_kernel_mcp.store.database.shared_index import SharedIndex

CHECKPOINT_BYTES: Final = 8 << 20
"""About how many bytes are written between two checkpoints."""
LOG_BYTES: Final = 32 << 20
"""Size of the log in bytes, about, above which writers are made to wait for a checkpoint."""
JOIN_S: Final = 1.0
"""How long a writer, or the end, waits for a checkpoint."""
RETRY_BUSY_MS: Final = 50

_PAGES_PER_WRITE: Final = 5

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one process's writes. The caller makes sure that calls do not overlap."""

    def __init__(self, path: Path, index: SharedIndex) -> None:
        self._path = path
        self._index = index
        self._unchecked_bytes = 0
        self._thread: threading.Thread | None = None

    @property
    def is_behind(self) -> bool:
        """Whether the next writers may be made to wait for the checkpoint under way."""
        if self._unchecked_bytes < LOG_BYTES - CHECKPOINT_BYTES:  # the usual case
            return False
        return self._thread is not None and self._thread.is_alive()

    def wrote(self, size_bytes: int) -> None:
        """Note a write of about that size; begins a checkpoint when one is due."""
        self._unchecked_bytes += size_bytes + _PAGES_PER_WRITE * PAGE_BYTES
        if self._unchecked_bytes < CHECKPOINT_BYTES:
            return
        is_under_way = self._thread is not None and self._thread.is_alive()
        if is_under_way and (self._unchecked_bytes < LOG_BYTES or not self.join()):  # writers outrun the disk
            return
        self._unchecked_bytes = 0
        self._thread = threading.Thread(target=self._run, name="store checkpoint", daemon=True)
        self._thread.start()

    def join(self) -> bool:
        """Wait for the checkpoint under way, if any, but not for ever; whether it has ended."""
        if self._thread is None:
            return True
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            # The log goes on growing, and nothing is lost. The next wait is due when as much again has been written.
            self._unchecked_bytes = 0
            log.warning("the disk of the session store is slow: its log was not written into it within %.0f s", JOIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Write the log into the file, on a connection of its own."""
        try:
            self._index.keep()
            connection = connect(self._path)
            try:
                # PASSIVE waits for nobody: it copies as much as no reader still needs from the log.
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                # Where others never pause, the log would never start over; so they are made to wait for a moment.
                if Path(f"{self._path}-wal").stat().st_size > LOG_BYTES:
                    connection.execute(f"PRAGMA busy_timeout = {RETRY_BUSY_MS}")
                    connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
            finally:
                connection.close()
        except (OSError, *FAILURES) as error:  # nothing is lost: the log goes on growing
            log.warning("the session store's checkpoint failed: %s", explain_error(error))
