"""Files of the server's own for contexts that memory cannot hold: without a name, counted, shared.

Is: their making in the state directory, the bound on all of them together (RLM_SPOOL_GB), and one file for all sessions
over the same sources. Is not: their writing, which a loader does. Above: `context/by_loader.py`. Below: the operating
system.

A file lives for as long as somebody holds it (`Spooled.release`), and goes with the server however that ends.
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
    """A writing and a reading descriptor of an empty file that has no name any more.

    Args:
        directory: where its bytes lie; None: where temporary files do.

    Raises:
        OSError: it cannot be made.
    """
    with ExitStack() as opened:
        writer, name = tempfile.mkstemp(prefix="rlm-context-", dir=directory)
        opened.callback(os.close, writer)
        try:
            # The kernel gets a descriptor that cannot write: it must not be able to fill the disk.
            reader = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            Path(name).unlink()
        opened.pop_all()
    return writer, reader


class Spooled:
    """One file without a name. `writer`: until `seal`; `reader`: as long as anybody holds it."""

    def __init__(self, spool: Spool, writer: int, reader: int) -> None:
        self._spool = spool
        self.writer = writer
        self.reader = reader
        self.byte_count = 0
        """As counted against the limit."""
        self.holders = 1
        self.key: bytes | None = None

    def seal(self, byte_count: int) -> None:
        """It is written: nobody here can write to it any more.

        Raises:
            ContextTooLarge: it does not have the size that it should have.
        """
        writer, self.writer = self.writer, -1
        if writer >= 0:
            os.fchmod(writer, 0o400)
            os.close(writer)
        if os.fstat(self.reader).st_size != byte_count:
            raise ContextTooLarge("The context's own file could not be written whole.")
        self._spool.charge(self, byte_count)

    def opened(self) -> int:
        """A descriptor of it to read, with a place of its own in the file, for somebody who is not trusted with it."""
        return os.open(f"/proc/self/fd/{self.reader}", os.O_RDONLY | os.O_CLOEXEC)

    def kept(self) -> Callable[[], None]:
        """Hold it once more; returns what lets it go."""
        self._spool.keep(self)
        return self.release

    def release(self) -> None:
        """Somebody needs it no more; the last one gives its room back."""
        self._spool.release(self)


class Spool:
    """All such files of a server. Used by many threads."""

    def __init__(self, state_dir: Path, limit_bytes: int) -> None:
        """`state_dir`: RLM_STATE_DIR. Nothing is made until it is needed."""
        self._directory = state_dir / DIRECTORY
        self.limit_bytes = limit_bytes
        self._used = 0
        self._shared: dict[bytes, Spooled] = {}
        self._making: set[bytes] = set()
        self._change = threading.Condition()

    @property
    def used_bytes(self) -> int:
        """Bytes of all files that somebody holds."""
        return self._used

    @property
    def left_bytes(self) -> int:
        return max(0, self.limit_bytes - self._used)

    def make(self) -> Spooled:
        """An empty file. Raises: ContextTooLarge."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer, reader = unlinked_file(self._directory)
        except OSError as error:
            raise ContextTooLarge(
                f"The server's own files for contexts cannot be made: {error.strerror}.",
                "Tell the user to free room in RLM_STATE_DIR, or to set it to a larger place.",
            ) from error
        return Spooled(self, writer, reader)

    def charge(self, file: Spooled, byte_count: int) -> None:
        """Count a file that is written. Raises: ContextTooLarge."""
        with self._change:
            if self._used - file.byte_count + byte_count > self.limit_bytes:
                raise self.too_large(byte_count)
            self._used += byte_count - file.byte_count
            file.byte_count = byte_count

    def too_large(self, byte_count: int) -> ContextTooLarge:
        """The error for a file that there is no room for."""
        return ContextTooLarge(
            f"The context needs {byte_count:,} bytes on disk; RLM_SPOOL_GB allows {self.limit_bytes:,} for all "
            f"sessions, of which {self._used:,} are taken.",
            "Give a smaller context, finalize sessions that are done, or tell the user to raise RLM_SPOOL_GB.",
        )

    def shared(self, key: bytes, make: Callable[[], Spooled], go_on: Callable[[], None]) -> Spooled:
        """The file of these sources: held once more where it is there, else made; others wait for it meanwhile.

        Raises:
            What `make` and `go_on` raise.
        """
        with self._change:
            while key in self._making:
                self._change.wait(LOOK_S)
                go_on()
            if (file := self._shared.get(key)) is not None:
                file.holders += 1
                return file
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

    def keep(self, file: Spooled) -> None:
        """As `Spooled.kept`."""
        with self._change:
            file.holders += 1

    def release(self, file: Spooled) -> None:
        """As `Spooled.release`."""
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
