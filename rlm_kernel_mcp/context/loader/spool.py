"""The server's own files for contexts that memory cannot hold: without a name, counted, shared.

Is: creating them in the state directory, the limit on all of them together (RLM_SPOOL_GB), and sharing one file between
all sessions over the same sources. Is not: writing them, which a loader does. Above: `context/by_loader.py`. Below: the
operating system.

A file exists as long as somebody holds it (`Spooled.release`), and disappears with the server however that ends.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.errors import ContextTooLarge

GB: Final = 1 << 30
DIRECTORY: Final = "spool"
LOOK_S: Final = 0.5


def unlinked_file(directory: Path | None = None) -> tuple[int, int]:
    """Create an empty file that has no name, and return a descriptor to write it and one to read it.

    Args:
        directory: where its bytes are to be; None for the temporary directory.

    Raises:
        OSError: it cannot be created.
    """
    with ExitStack() as opened:
        writer, name = tempfile.mkstemp(prefix="rlm-context-", dir=directory)
        opened.callback(os.close, writer)
        try:
            # Kernels get a read-only descriptor: they must not be able to fill the disk.
            reader = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            Path(name).unlink()
        opened.pop_all()
    return writer, reader


def opened_anew(descriptor: int) -> int:
    """A new read-only descriptor with an offset and flags of its own, for a process that is not trusted."""
    # Opening the link makes a new open file description; dup(2) would share the offset with all other holders.
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


class Spooled:
    """One file without a name. It has a `writer` until `seal`, and a `reader` as long as anybody holds it."""

    def __init__(self, spool: Spool, writer: int, reader: int) -> None:
        self._spool = spool
        self.writer = writer
        self.reader = reader
        self.byte_count = 0
        """What it counts against the limit."""
        self.holders = 1
        self.key: bytes | None = None

    def seal(self, byte_count: int) -> None:
        """End the writing: from now on nobody can write to it.

        Raises:
            ContextTooLarge: it does not have this size.
        """
        writer, self.writer = self.writer, -1
        if writer >= 0:
            # The writable descriptor itself cannot be revoked; the loader that has a copy is gone by now (its end was
            # awaited).
            os.fchmod(writer, 0o400)
            os.close(writer)
        if os.fstat(self.reader).st_size != byte_count:
            raise ContextTooLarge("The server's own file for the context could not be written completely.")
        self._spool.charge(self, byte_count)

    def grown(self) -> None:
        """Count what is written of it by now. Raises: ContextTooLarge: all files together have too much."""
        if self.writer >= 0:
            self._spool.charge(self, os.fstat(self.writer).st_size)

    def kept(self) -> Callable[[], None]:
        """Hold it once more. Returns what releases it again."""
        self._spool.keep(self)
        return self.release

    def release(self) -> None:
        """One holder fewer; with the last one the file is removed and its room is free again."""
        self._spool.release(self)


class Spool:
    """All such files of a server. Thread-safe."""

    def __init__(self, state_dir: Path, limit_bytes: int) -> None:
        """`state_dir`: RLM_STATE_DIR. The directory of the spool is created when it is first needed."""
        self._directory = state_dir / DIRECTORY
        self.limit_bytes = limit_bytes
        self._used = 0
        self._shared: dict[bytes, Spooled] = {}
        self._making: set[bytes] = set()
        self._change = threading.Condition()

    @property
    def used_bytes(self) -> int:
        """Bytes of all files that exist."""
        return self._used

    @property
    def left_bytes(self) -> int:
        return max(0, self.limit_bytes - self._used)

    def make(self) -> Spooled:
        """Create an empty file. Raises: ContextTooLarge."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer, reader = unlinked_file(self._directory)
        except OSError as error:
            raise ContextTooLarge(
                f"The server's own file for the context cannot be created: {error.strerror}.",
                "Tell the user to free room in RLM_STATE_DIR, or to set it to a larger disk.",
            ) from error
        return Spooled(self, writer, reader)

    def charge(self, file: Spooled, byte_count: int) -> None:
        """Count a file against the limit. Raises: ContextTooLarge."""
        with self._change:
            if self._used - file.byte_count + byte_count > self.limit_bytes:
                raise self.too_large(byte_count, file.byte_count)
            self._used += byte_count - file.byte_count
            file.byte_count = byte_count

    def too_large(self, byte_count: int, own_bytes: int = 0) -> ContextTooLarge:
        """The error for a file that there is no room for, of which `own_bytes` are counted already."""
        return ContextTooLarge(
            f"The context needs {byte_count:,} bytes on disk; RLM_SPOOL_GB allows {self.limit_bytes:,} bytes for all "
            f"sessions, of which {self._used - own_bytes:,} are in use.",
            "Give a smaller context, finalize sessions that are done, or tell the user to raise RLM_SPOOL_GB.",
        )

    def shared(self, key: bytes, make: Callable[[], Spooled], check_cancelled: Callable[[], None]) -> Spooled:
        """The file for these sources, held once more if it exists, otherwise made while others wait for it.

        Raises:
            Whatever `make` and `check_cancelled` raise.
        """
        with self._change:
            while key in self._making:
                self._change.wait(LOOK_S)
                check_cancelled()
            if (file := self._shared.get(key)) is not None:
                file.holders += 1
                return file
            # Others wait for this key only: making a file takes minutes, and the lock must be free meanwhile.
            self._making.add(key)
        try:
            made = make()
            with self._change:
                made.key = key
                self._shared[key] = made
            return made
        finally:
            with self._change:
                self._making.discard(key)
                self._change.notify_all()

    def keep(self, file: Spooled) -> bool:
        """See `Spooled.kept`. False: nobody holds it any more, and it is gone."""
        with self._change:
            if file.holders:
                file.holders += 1
            return file.holders > 0

    def release(self, file: Spooled) -> None:
        """See `Spooled.release`."""
        with self._change:
            file.holders -= 1
            if file.holders:
                return
            if file.key is not None:
                self._shared.pop(file.key, None)
            self._used -= file.byte_count
            for descriptor in (file.writer, file.reader):
                if descriptor >= 0:
                    os.close(descriptor)
            file.writer = file.reader = -1
