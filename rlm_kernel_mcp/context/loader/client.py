"""The host's end of one loader: what it is asked, in a worker thread, with a bound on every wait.

Is: requests, descriptors and answers, and the end of a loader that is silent, slow or lies. Is not: which files, nor
what becomes of them (`context/by_loader.py`). Above: `context/by_loader.py`. Below: `answers.py`.
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
from rlm_kernel_mcp.context.loader.answers import FileRead, FileRefused, Unbelievable, ValueRefused
from rlm_kernel_mcp.context_wire import DATAGRAM_BYTES, INDEX_ROWS, Layout, Limits
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge

LOOK_S: Final = 0.5
"""How often who waits for an answer looks whether anybody waits for him."""
SILENT_S: Final = 60.0
"""How long a loader may say nothing, or get no further."""
WHOLE_S: Final = 600.0
BYTES_OF_S: Final = 2_000_000
"""All of a loading may take ten minutes, and a second more for each 2 MB: a hundredth of what it takes by itself."""


def unwritten(number: int) -> ContextTooLarge:
    """The error for a file of the server's own that could not be written, by the operating system's number."""
    return ContextTooLarge(
        f"The context cannot be written into RLM_STATE_DIR: {os.strerror(number).lower()}.",
        "Give a smaller context, or tell the user to free room there, or to set RLM_STATE_DIR to a larger place.",
    )


class Process(Protocol):
    """A loader's process."""

    control: socket.socket

    def close(self) -> None:
        """End it, and wait for its end. Safe to call twice."""


class LoaderClient:
    """Asks one loader. Whatever goes wrong with it is one error, and its end."""

    def __init__(self, process: Process, go_on: Callable[[], None], byte_count: int) -> None:
        """`go_on`: raises where nobody waits any more. `byte_count`: of the files, about, for the bound on time."""
        self._process = process
        self._control = process.control
        self._control.setblocking(False)
        self._go_on = go_on
        self._ends_at = time.monotonic() + WHOLE_S + byte_count / BYTES_OF_S
        self._furthest = (-1, -1)
        self.told: Callable[[int, int], None] = lambda read, made: None
        """Told of its progress: bytes read, bytes of text."""

    def begin(self, limits: Limits, pack: int | None) -> None:
        """Begin a context, or begin it again. `pack`: where all bytes are laid together."""
        self._text_bytes, self._is_hashed = limits["text_bytes"], limits["hash"]
        self._ask({"begin": limits}, () if pack is None else (pack,), answers.begun)

    def files(self, descriptors: Sequence[int], forms: Sequence[str]) -> list[FileRead | FileRefused]:
        """Have files read, at most `FILES_MAX`."""
        rows: list[FileRead | FileRefused] = self._ask(
            {"files": list(forms)},
            descriptors,
            lambda data: answers.files(data, len(descriptors), self._text_bytes),
        )
        self._text_bytes -= sum(row.byte_count for row in rows if isinstance(row, FileRead))
        return rows

    def finish(self, documents: Sequence[FileRead]) -> str | None:
        """All files have been read: the hash of all their bytes, if it was asked for."""
        take = partial(answers.finished, documents=documents, hashed=self._is_hashed)
        digest: str | None = self._ask({"finish": True}, (), take)
        return digest

    def hash(self, descriptor: int, byte_count: int) -> str | None:
        """Have the first bytes of a file hashed, which is all that such a loader does; None where it has fewer."""
        digest: str | None = self._ask({"hash": byte_count}, (descriptor,), answers.hashed)
        return digest

    def spool(self, descriptor: int, chars: int, layout: Layout) -> None:
        """Have all characters written in one width. Raises: ContextTooLarge: there is no room for them."""
        number: int = self._ask({"spool": True}, (descriptor,), lambda data: answers.spooled(data, chars, layout))
        if number:
            raise unwritten(number)

    def index(self, rows: int) -> array[int]:
        """The index of all documents, `rows` pairs of line ends and characters."""
        whole = array("Q")
        for first in range(0, rows, INDEX_ROWS):
            whole.extend(self._ask({"index": first}, (), partial(answers.index_rows, count=rows - first)))
        return whole

    def value(self, source: int, target: int, file_bytes: int) -> int | ValueRefused:
        """Have a JSON text parsed and its value written: how many bytes that is, at most `file_bytes`."""
        answer: int | ValueRefused = self._ask(
            {"json": True}, (source, target), lambda data: answers.value(data, file_bytes)
        )
        return answer

    def end(self) -> None:
        """End the process, and wait until nothing of it is left: what it could write to is fixed from now on."""
        self._process.close()

    def _ask(self, request: dict[str, Any], descriptors: Sequence[int], take: Callable[[bytes], Any]) -> Any:
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], list(descriptors))
            return take(self._answer())
        except Unbelievable as error:
            raise self._broken(f"gave an answer that makes no sense ({error})") from error
        except OSError as error:
            raise self._broken("ended") from error

    def _answer(self) -> bytes:
        heard_at = time.monotonic()
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while True:
            self._go_on()
            now = time.monotonic()
            if now - heard_at > SILENT_S or now > self._ends_at:
                raise self._broken("took too long and was ended")
            if not poll.poll(LOOK_S * 1_000):
                continue
            data = self._control.recv(DATAGRAM_BYTES)
            if not data:
                raise self._broken("ended")
            further = answers.progress(data)
            if further is None:
                return data
            if further > self._furthest:
                self._furthest, heard_at = further, now
                self.told(*further)

    def _broken(self, what: str) -> ContextDenied:
        self._process.close()
        return ContextDenied(
            f"The context cannot be read: the process that reads it {what}.",
            "Give fewer or other files; one of them may be damaged.",
        )
