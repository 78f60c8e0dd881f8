"""The host's end of one loader: what it is asked, in a worker thread, with a bound on every wait.

Is: requests, descriptors and answers, and ending a loader that is silent, slow or dishonest. Is not: which files it
gets, or what becomes of them (`context/by_loader.py`). Above: `context/by_loader.py`. Below: `answers.py`.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from rlm_kernel_mcp.context.loader import answers
from rlm_kernel_mcp.context.loader.answers import FileRead, FileRefused, ImpossibleAnswer, ValueRefused
from rlm_kernel_mcp.context_wire import DATAGRAM_BYTES, INDEX_ROWS, Layout, Limits
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge

LOOK_S: Final = 0.5
"""How often a wait for an answer checks whether anybody still wants it."""
TOLD_S: Final = 0.1
"""A loader that reports more often than this is made to wait; an honest one does so twice a second."""
SILENT_S: Final = 60.0
"""How long a loader may be silent, or make no progress."""
WHOLE_S: Final = 600.0
BYTES_OF_S: Final = 2_000_000
"""A whole load may take ten minutes, and a second more for each 2 MB: a hundred times what it takes undisturbed."""


def write_failed(number: int) -> ContextTooLarge:
    """The error for a file of the server's own that could not be written. `number`: the errno."""
    return ContextTooLarge(
        f"The context cannot be written to RLM_STATE_DIR: {os.strerror(number).lower()}.",
        "Give a smaller context, or tell the user to free room there, or to set RLM_STATE_DIR to a larger disk.",
    )


class Growing(Protocol):
    """A file that a loader writes."""

    def grown(self) -> None:
        """Count what is written of it by now. Raises: ContextTooLarge."""


class Process(Protocol):
    """A loader's process."""

    control: socket.socket

    def close(self) -> None:
        """End it, and wait for its end. Safe to call twice."""


class LoaderClient:
    """Asks one loader. Whatever goes wrong ends it, and raises the same error."""

    def __init__(self, process: Process, check_cancelled: Callable[[], None], byte_count: int) -> None:
        """`check_cancelled` raises once nobody is waiting. `byte_count`: roughly, of all files, to bound the time."""
        self._process = process
        self._control = process.control
        # A loader that stops reading would otherwise block the sender, beyond every deadline here.
        self._control.setblocking(False)
        self._check_cancelled = check_cancelled
        self._ends_at = time.monotonic() + WHOLE_S + byte_count / BYTES_OF_S
        self.on_progress: Callable[[int, int], None] = lambda read, made: None
        """Called with its progress: bytes read, and bytes of text made."""
        self.writes: list[Growing] = []
        """What it can write to, counted while it is waited for: it may write more than it says."""

    def begin(self, limits: Limits, pack: int | None) -> None:
        """Begin a context, or begin it again. `pack`: the file in which all bytes are to be concatenated."""
        self._text_bytes, self._is_hashed = limits["text_bytes"], limits["hash"]
        self._ask({"begin": limits}, () if pack is None else (pack,), answers.begun)

    def files(self, descriptors: Sequence[int], forms: Sequence[tuple[str, bool]]) -> list[FileRead | FileRefused]:
        """Have up to `FILES_MAX` files read. `forms`: of each, and whether it is loaded whatever is in it."""
        rows: list[FileRead | FileRefused] = self._ask(
            {"files": list(forms)},
            descriptors,
            lambda data: answers.files(data, len(descriptors), self._text_bytes),
        )
        self._text_bytes -= sum(row.byte_count for row in rows if isinstance(row, FileRead))
        return rows

    def finish(self, documents: Sequence[FileRead]) -> str | None:
        """End the files. Returns the hash of all their bytes, if it was asked for."""
        take = partial(answers.finished, documents=documents, hashed=self._is_hashed)
        digest: str | None = self._ask({"finish": True}, (), take)
        return digest

    def hash(self, descriptor: int, byte_count: int) -> str | None:
        """Have the first `byte_count` bytes of a file hashed. Returns None if it has fewer."""
        digest: str | None = self._ask({"hash": byte_count}, (descriptor,), answers.hashed)
        return digest

    def spool(self, descriptor: int, chars: int, layout: Layout, utf8: tuple[int, int] | None = None) -> None:
        """Have all characters written in a single width. Raises: ContextTooLarge: there is no room for them.

        `utf8`: where in the file they are to be written as UTF-8 too, and how many bytes that is.
        """
        place, size = utf8 or (0, 0)
        take = partial(answers.spooled, chars=chars, layout=layout, utf8_bytes=size)
        number: int = self._ask({"spool": place}, (descriptor,), take)
        if number:
            raise write_failed(number)

    def index(self, rows: int) -> array[int]:
        """The index of all documents: `rows` pairs of line ends and characters."""
        whole = array("Q")
        for first in range(0, rows, INDEX_ROWS):
            whole.extend(self._ask({"index": first}, (), partial(answers.index_rows, count=rows - first)))
        return whole

    def value(self, source: int, target: int, file_bytes: int) -> int | ValueRefused:
        """Have a JSON text parsed and its value written. Returns the value's size, at most `file_bytes`."""
        answer: int | ValueRefused = self._ask(
            {"json": True}, (source, target), lambda data: answers.value(data, file_bytes)
        )
        return answer

    def end(self) -> None:
        """End the process and wait until it is gone: from then on nothing changes what it could write to."""
        self._process.close()

    def _ask(self, request: dict[str, Any], descriptors: Sequence[int], take: Callable[[bytes], Any]) -> Any:
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], list(descriptors))
            return take(self._answer())
        except ImpossibleAnswer as error:
            raise self._broken(f"gave an answer that makes no sense ({error})") from error
        except OSError as error:
            raise self._broken("ended") from error

    def _answer(self) -> bytes:
        heard_at, told_at = time.monotonic(), 0.0
        furthest = (-1, -1)  # of this request: each goes through the files from their beginning
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            self._check_cancelled()
            for file in self.writes:
                file.grown()
            now = time.monotonic()
            if now - heard_at > SILENT_S or now > self._ends_at:
                raise self._broken("took too long and was ended")
            if not poll.poll(LOOK_S * 1_000):
                continue
            data = self._control.recv(DATAGRAM_BYTES)
            if not data:
                raise self._broken("ended")
            # Only progress that goes further counts as a sign of life: a loader could repeat the same for ever.
            further = answers.progress(data)
            if further is None:
                return data
            if now - told_at < TOLD_S:  # one that reports as fast as it can would keep the server's threads busy
                time.sleep(TOLD_S)
            told_at = now
            if further > furthest:
                furthest, heard_at = further, now
                self.on_progress(*further)

    def _broken(self, what: str) -> ContextDenied:
        self._process.close()
        return ContextDenied(
            f"The context cannot be read: the process that reads it {what}.",
            "Give fewer or other files; one of them may be damaged.",
        )
