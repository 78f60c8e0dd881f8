"""A context on its way to a kernel: the bytes that it loads, and what is known of them.

Is: that. Is not: the reading of files (`reading.py`, `by_loader.py`), nor a text of the client's own (`inline/`).
Above: the session, which sends `data` or `descriptor` as `LOAD_CONTEXT`. Below: `documents.py`, `held.py`,
`context/loader/`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from rlm_kernel_mcp.context.documents import Document, FileState, file_state
from rlm_kernel_mcp.context.held import Held, Room
from rlm_kernel_mcp.context.loader.hashing import Unhashed
from rlm_kernel_mcp.context.loader.index import TextIndex
from rlm_kernel_mcp.context.loader.places import Places
from rlm_kernel_mcp.context.loader.spool import Spooled
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context_wire import CODECS, WIDTHS, DocumentRow, Layout


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
    bytes count. `sha256` is over these bytes, before any decoding; None: it is not made yet (`unhashed`).
    """

    kind: Literal["text", "documents", "json"]
    documents: tuple[Document, ...]
    byte_count: int
    sha256: str | None
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
    text_bytes: int | None = None
    """What its characters take in memory, where that is known."""
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
    states: str | None = None
    """What the file system said of each of its files, as one hash, if none was written to while it was read. Files of
    which it says the same again are the same."""

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
        return own is not None and _has_changed(self.state, own)

    def unhashed(self) -> Unhashed | None:
        """The documents' bytes, for their hash, where there is none yet; they outlive this payload."""
        if self.sha256 is not None:
            return None
        own, file = (self.descriptor, self.file) if self.source is None else (self.source, self.pack)
        assert own is not None
        state = self.state
        let_go = (lambda: None) if file is None else file.kept()
        return Unhashed(own, self.byte_count, lambda opened: _has_changed(state, opened), let_go)

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

    def places(self, name_start: int = 0) -> Places:
        """Places in its documents, which outlive it. `name_start`: behind what was put before their names."""
        documents = (((one.name, one.byte_count, one.encoding, one.errors), one.path or "") for one in self.documents)
        return Places(documents, self.index, "" if self.prefix is None else f"{self.prefix}/", name_start)

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


def _has_changed(state: FileState | None, descriptor: int) -> bool:
    try:
        return state is not None and file_state(descriptor) != state
    except OSError:  # its file system is gone; what reads it again says so
        return True
