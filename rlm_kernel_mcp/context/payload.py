"""A context on its way to a kernel: the bytes that it loads, its documents, and what tells that a file was written to.

Is: that. Is not: the reading of files (`reading.py`, `by_loader.py`), nor a text of the client's own (`inline/`).
Above: the session, which sends `data` or `descriptor` as `LOAD_CONTEXT`. Below: `held.py`, `context/loader/`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

from rlm_kernel_mcp.context.held import Held, Room
from rlm_kernel_mcp.context.left_out import Skipped
from rlm_kernel_mcp.context.loader.index import TextIndex
from rlm_kernel_mcp.context.loader.spool import Spooled
from rlm_kernel_mcp.context_wire import CODECS, WIDTHS, DocumentRow, Layout


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a payload. `encoding` is a Python codec, `errors` how it is to be decoded with it."""

    name: str
    byte_count: int
    encoding: str
    undecodable_bytes: int = 0
    errors: str = "strict"
    layout: Layout | None = field(default=None, compare=False)
    """How its characters lie in its bytes; None: they have to be decoded."""
    path: str | None = field(default=None, compare=False)
    """The file, with all links resolved; None of an inline text. What cites the document reads there."""


class FileState(NamedTuple):
    """What changes when a file is written to."""

    size: int
    modified_ns: int
    changed_ns: int


def file_state(descriptor: int) -> FileState:
    """The state of an open file now."""
    status = os.fstat(descriptor)
    return FileState(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def file_identity(descriptor: int) -> tuple[int, ...]:
    """Which file it is, with its state now."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@dataclass(frozen=True, slots=True)
class Facts:
    """A text as the client is told of it."""

    chars: int
    lines: int
    head: str
    tail: str


@dataclass(slots=True)
class Payload:
    """A context on its way to a kernel: `data`, or else `descriptor`, holds the documents' bytes from offset 0.

    The descriptor is read-only and belongs to the payload (`close`, or `with`); only the first `byte_count`
    bytes count. `sha256` is over these bytes, before any decoding.
    """

    kind: Literal["text", "documents", "json"]
    documents: tuple[Document, ...]
    byte_count: int
    sha256: str
    data: bytes | None
    descriptor: int | None
    skipped: Skipped
    prefix: str | None = None
    """The directory that the documents' names are relative to; None of an inline text."""
    state: FileState | None = None
    """State of the caller's file when it was hashed, where `descriptor` is that file; None for bytes of our own."""
    layout: Layout | None = None
    """How the characters of all documents lie in the descriptor's bytes, where they can be mapped there."""
    lines: int | None = None
    """Where `layout` is known: how many there are."""
    held: Held = "memory"
    """How a kernel is to hold it."""
    room: Room | None = None
    """What it was read within."""
    index: TextIndex | None = None
    """Places in the text as bytes, characters and lines, where a loader has counted them."""
    file: Spooled | None = None
    """The server's own file behind `descriptor`, where it is one."""
    source: int | None = None
    """The documents' bytes, where `descriptor` has their characters in another width (`held` is then `spooled`)."""
    pack: Spooled | None = None
    """The server's own file behind `source`, where it is one."""
    laid_chars: tuple[int, ...] | None = None
    """Characters of each document, where `descriptor` has them in `layout` and not the documents' own bytes."""
    value_bytes: int | None = None
    """Of the value of a JSON text, where `descriptor` has that; None: a kernel is to parse the text."""
    facts: Facts | None = None
    """What is known of a text that the client gave itself."""

    @property
    def encodings(self) -> dict[str, int]:
        """Number of documents by encoding."""
        return dict(Counter(document.encoding for document in self.documents))

    @property
    def undecodable(self) -> dict[str, int]:
        """Number of bytes that do not decode, of each document that holds some."""
        return {document.name: document.undecodable_bytes for document in self.documents if document.undecodable_bytes}

    def has_changed(self) -> bool:
        """Whether the file was written to since it was hashed. Ask after the kernel has loaded it.

        If so, what the kernel read may be neither the old text nor the new: `build_payload` with `copy=True`.
        """
        own = self.descriptor if self.source is None else self.source
        if own is None or self.state is None:
            return False
        try:
            return file_state(own) != self.state
        except OSError:  # its file system is gone; what reads it again says so
            return True

    def passed(self) -> int:
        """A descriptor for a kernel, which is closed once it was passed on."""
        assert self.descriptor is not None
        return os.dup(self.descriptor) if self.file is None else self.file.opened()

    @property
    def rows(self) -> list[DocumentRow]:
        """What lies where behind `descriptor`, for a kernel."""
        if self.value_bytes is not None:
            return [(self.documents[0].name, self.value_bytes, "", "")]
        if self.laid_chars is None or self.layout is None:
            return [(one.name, one.byte_count, one.encoding, one.errors) for one in self.documents]
        width, decoded = WIDTHS[self.layout], (CODECS[self.layout], "surrogatepass")
        how = decoded if self.held == "memory" else (self.layout, "strict")
        counted = zip(self.documents, self.laid_chars, strict=True)
        return [(one.name, chars * width, *how) for one, chars in counted]

    def hold_in_memory(self) -> None:
        """A kernel that cannot map it is given the documents' own bytes."""
        was, self.held = self.held, "memory"
        if was == "spooled" and self.source is not None:
            if self.file is not None:
                self.file.release()
            self.descriptor, self.file, self.source, self.pack = self.source, self.pack, None, None
            self.laid_chars = None

    def kept(self) -> Callable[[], None]:
        """Keep the shared file for a kernel that has it mapped; returns what lets it go at the end of the kernel."""
        return (lambda: None) if self.file is None else self.file.kept()

    def close(self) -> None:
        """Give the descriptors back. Safe to call twice."""
        held = ((self.file, self.descriptor), (self.pack, self.source))
        self.file = self.pack = self.descriptor = self.source = None
        for file, descriptor in held:
            if file is not None:
                file.release()
            elif descriptor is not None:
                os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
