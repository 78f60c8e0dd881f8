"""A context on its way to a kernel: the bytes that it loads, and what is known of them.

Is: that. Is not: reading files (`reading.py`, `by_loader.py`), or taking a text from the client (`inline.py`).
Above: the session, which sends `data` or `descriptor` as `LOAD_CONTEXT`. Below: `documents.py`, `held.py`,
`context/loader/`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.held import Held, Room
from rlm_kernel_mcp.context.loader.hashing import Unhashed
from rlm_kernel_mcp.context.loader.index import TextIndex
from rlm_kernel_mcp.context.loader.places import Places
from rlm_kernel_mcp.context.loader.spool import Spooled, opened_anew
from rlm_kernel_mcp.context.patterns.left_out import Skipped
from rlm_kernel_mcp.context.roots.identity import FileNumber, FileState, file_state
from rlm_kernel_mcp.context_wire import WIDTHS, DocumentRow, Layout


@dataclass(frozen=True, slots=True)
class Facts:
    """What is reported to the client about a text."""

    chars: int
    lines: int
    head: str
    tail: str


@dataclass(slots=True)
class Payload:
    """A context on its way to a kernel: `data`, or else `descriptor`, has the documents' bytes from offset 0.

    The descriptor is read-only and belongs to the payload (`close`, or `with`); only the first `byte_count` bytes
    count. `sha256` is over these bytes, before any decoding; None if it is not computed yet (`unhashed`).
    """

    kind: Literal["text", "documents", "json"]
    documents: tuple[Document, ...]
    byte_count: int
    sha256: str | None
    data: bytes | None
    descriptor: int | None
    skipped: Skipped
    prefix: str | None = None
    """The directory that the documents' names are relative to; None for an inline text."""
    state: FileState | None = None
    """State of the user's file when it was hashed, if `descriptor` is that file; None for bytes of our own."""
    layout: Layout | None = None
    """How the characters of all documents are laid out in the descriptor's bytes, if those can be mapped."""
    lines: int | None = None
    """The number of lines, if `layout` is known."""
    held: Held = "memory"
    """How a kernel is to hold it."""
    text_bytes: int | None = None
    """What its characters take in memory, if that is known."""
    room: Room | None = None
    """The limits within which it was read."""
    index: TextIndex | None = None
    """Positions in the text by byte, character and line, if a loader has counted them."""
    file: Spooled | None = None
    """The server's own file behind `descriptor`, if it is one."""
    source: int | None = None
    """The documents' bytes, if `descriptor` has their characters in another width (`held` is then `spooled`)."""
    pack: Spooled | None = None
    """The server's own file behind `source`, if it is one."""
    char_counts: tuple[int, ...] | None = None
    """Characters of each document, if `descriptor` has them in `layout` instead of the documents' own bytes."""
    utf8: tuple[int, int] | None = None
    """Where in a `spooled` file the same characters lie as UTF-8, and how many bytes that is."""
    value_bytes: int | None = None
    """Size of the value of a JSON text, if `descriptor` has that; None if a kernel is to parse the text."""
    facts: Facts | None = None
    """What is known about a text that came from the client itself."""
    states: str | None = None
    """One hash over the identities and states of its files, if none was written to while it was read. As long as that
    hash is the same, so are the files."""

    is_other: bool = False
    """Whether it is read again, and its file is not what it was."""

    @property
    def own_file(self) -> FileNumber | None:
        """The file that it is the text of, where it is that of one."""
        identity = self.documents[0].identity if len(self.documents) == 1 else None
        return None if identity is None else (identity.device, identity.inode)

    @property
    def encodings(self) -> dict[str, int]:
        """Number of documents by encoding."""
        return dict(Counter(document.encoding for document in self.documents))

    @property
    def undecodable(self) -> dict[str, int]:
        """The number of undecodable bytes of each document that has any."""
        return {document.name: document.undecodable_bytes for document in self.documents if document.undecodable_bytes}

    def has_changed(self) -> bool:
        """Whether the file was written to since it was hashed. Ask after the kernel has loaded it.

        If so, what the kernel read may be neither the old text nor the new one: use `build_payload` with `copy=True`.
        """
        own = self.descriptor if self.source is None else self.source
        return own is not None and _has_changed(self.state, own)

    def unhashed(self) -> Unhashed | None:
        """The documents' bytes for their hash, if that is not computed yet; they outlive this payload."""
        if self.sha256 is not None:
            return None
        own, file = (self.descriptor, self.file) if self.source is None else (self.source, self.pack)
        assert own is not None
        state = self.state
        let_go = (lambda: None) if file is None else file.kept()
        return Unhashed(own, self.byte_count, lambda opened: _has_changed(state, opened), let_go)

    def passed(self) -> int:
        """A new descriptor for a kernel; the caller closes it once it has been passed."""
        assert self.descriptor is not None
        try:
            return opened_anew(self.descriptor)
        except OSError:  # the caller's file may be opened no more: then it shares its flags with what the host reads by
            return os.dup(self.descriptor)

    @property
    def rows(self) -> list[DocumentRow]:
        """What a kernel finds behind `descriptor`, document by document, with the encoding of each one's own file."""
        if self.value_bytes is not None:
            return [(self.documents[0].name, self.value_bytes, "", "")]
        if self.char_counts is None or self.layout is None:
            return [(one.name, one.byte_count, one.encoding, one.errors) for one in self.documents]
        width, counted = WIDTHS[self.layout], zip(self.documents, self.char_counts, strict=True)
        return [(one.name, chars * width, one.encoding, one.errors) for one, chars in counted]

    def places(self, name_start: int = 0) -> Places:
        """Positions in its documents, which outlive it. `name_start`: length of the prefix before their names."""
        documents = (((one.name, one.byte_count, one.encoding, one.errors), one.path or "") for one in self.documents)
        base = "" if self.prefix is None else f"{self.prefix}/"
        return Places(documents, self.index, base, name_start, self._chars_each())

    def _chars_each(self) -> list[int] | None:
        """Characters of each document, where they have been counted."""
        if self.char_counts is not None:
            return list(self.char_counts)
        if self.index is not None:
            return list(self.index.char_counts)
        if self.facts is not None and len(self.documents) == 1:
            return [self.facts.chars]
        counts = [one.chars for one in self.documents]
        return [count for count in counts if count is not None] if None not in counts else None

    def hold_in_memory(self) -> None:
        """Give a kernel that cannot map the text the documents' own bytes instead."""
        was, self.held = self.held, "memory"
        if was == "spooled" and self.source is not None:
            if self.file is not None:
                self.file.release()
            self.descriptor, self.file, self.source, self.pack = self.source, self.pack, None, None
            self.char_counts = None

    def kept(self) -> Callable[[], None]:
        """Keep the shared file for a kernel that has it mapped. Returns what releases it when the kernel ends."""
        return (lambda: None) if self.file is None else self.file.kept()

    def close(self) -> None:
        """Close the descriptors. Safe to call twice."""
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
    except OSError:  # its file system is gone; reading it again says so
        return True
