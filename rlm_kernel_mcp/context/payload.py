"""Makes one payload of the sources: the bytes that a kernel loads as its context, and what is known of them.

Is: one read of every file, in small blocks, that hashes, detects the encoding and (for several files) writes the bytes
one after the other into an unlinked temporary file. Is not: decoding; the kernel does that. Above: the session, in a
worker thread, which sends `data` or `descriptor` as `wire.LOAD_CONTEXT`.
Below: `copies.py`, `held.py`, `paths.py`, `text_encoding.py`.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, Literal, Self

from rlm_kernel_mcp.context.copies import append, unlinked_file
from rlm_kernel_mcp.context.documents import Document, FileState, file_state
from rlm_kernel_mcp.context.held import COPIED_MAX_BYTES, Held, Room, lies_in_memory
from rlm_kernel_mcp.context.loader.compressed import is_archive
from rlm_kernel_mcp.context.loader.index import TextIndex
from rlm_kernel_mcp.context.loader.spool import Spooled
from rlm_kernel_mcp.context.paths import open_below
from rlm_kernel_mcp.context.refusals import archive_refused, binary, nothing_left, skipping
from rlm_kernel_mcp.context.sources import Skipped, Source, Sources, too_large
from rlm_kernel_mcp.loader_wire import WIDTHS
from rlm_kernel_mcp.text_encoding import BINARY, EncodingDetector, LineCount, errors_of
from rlm_kernel_mcp.wire import DocumentRow, Layout

BLOCK_BYTES: Final = 1 << 15
"""Read at once. Larger blocks are slower: block and decoded text then leave the processor's cache."""

TEXT_NAME: Final = "context"
"""Name of the one document of an inline text."""


@dataclass(slots=True)
class Payload:
    """A context on its way to a kernel: `data`, or else `descriptor`, holds the documents' bytes from offset 0.

    The descriptor is read-only and belongs to the payload (`close`, or `with`); only the first `byte_count`
    bytes count. `sha256` is over these bytes, before any decoding.
    """

    kind: Literal["text", "documents"]
    documents: tuple[Document, ...]
    byte_count: int
    sha256: str
    data: bytes | None
    descriptor: int | None
    skipped: Skipped
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
        if self.held != "spooled" or self.layout is None or self.index is None:
            return [(one.name, one.byte_count, one.encoding, one.errors) for one in self.documents]
        width = WIDTHS[self.layout]
        counted = zip(self.documents, self.index.documents, strict=True)
        return [(one.name, found.chars * width, self.layout, "strict") for one, found in counted]

    def hold_in_memory(self) -> None:
        """A kernel that cannot map it is given the documents' own bytes."""
        was, self.held = self.held, "memory"
        if was == "spooled" and self.source is not None:
            if self.file is not None:
                self.file.release()
            self.descriptor, self.file, self.source, self.pack = self.source, self.pack, None, None

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


def text_payload(text: str) -> Payload:
    """The payload of an inline text, kept as it is: lone surrogates travel as three bytes each."""
    data = text.encode("utf-8", "surrogatepass")
    document = Document(TEXT_NAME, len(data), "utf-8", errors="surrogatepass")
    digest = hashlib.sha256(data).hexdigest()
    return Payload("text", (document,), len(data), digest, data, None, Skipped())


def build_payload(
    sources: Sources, *, room: Room | None = None, copy: bool = False, go_on: Callable[[], None] = lambda: None
) -> Payload:
    """Read all files once. One file stays where it is, and its own descriptor is handed on; several are copied.

    A file that was found in a directory or by a glob and is binary, or cannot be read any more, is skipped.
    `room`: what may be decoded, and what may be mapped; None: all that `sources` allows is to be decoded.
    `copy`: copy a single file too. This happens by itself where it is written to meanwhile. `go_on` is asked at each
    block, and raises where nobody waits for the payload any more.

    Raises:
        InvalidInput: a file that was named itself is binary.
        ContextNotFound: a named file is gone, or no file is left.
        ContextDenied: a named file cannot be read, or something else has taken its place.
        ContextTooLarge: there is more than `max_bytes`, or than the room for what has to be decoded, or no room for
            the copy.
    """
    reading = _Reading(sources, room or Room(sources.max_bytes), go_on)
    if len(sources.files) == 1 and not copy and (payload := reading.in_place(sources.files[0])):
        return payload
    return reading.copied()


class _Reading:
    """The state of one `build_payload`."""

    def __init__(self, sources: Sources, room: Room, go_on: Callable[[], None]) -> None:
        self._sources = sources
        self._room = room
        self._max_bytes = sources.max_bytes
        self._can_be_mapped = room.mapped_bytes > 0
        """Until something is met that has to be decoded."""
        self._lines = LineCount()
        self._go_on = go_on
        self._skipped = replace(sources.skipped, first=list(sources.skipped.first))
        self._hash = hashlib.sha256()
        self._bytes = 0

    def in_place(self, source: Source) -> Payload | None:
        """The payload that shares the file itself; None if that does not hold still."""
        document = None
        with ExitStack() as opened, skipping(source, self._skipped):
            descriptor = open_below(source.real, source.given or source.name, self._sources.roots)
            opened.callback(os.close, descriptor)
            before = file_state(descriptor)
            self._can_be_mapped = self._can_be_mapped and not lies_in_memory(descriptor)
            document = self._read(source, descriptor, None)
            # A file of /proc, and one being written to, is not as large as its status says.
            if document is not None and before == file_state(descriptor) and before.size == document.byte_count:
                opened.pop_all()
                return self._payload([document], descriptor, before)
        if document is None:
            raise nothing_left(self._sources, self._skipped)
        self._rewind(hashlib.sha256(), 0, LineCount())
        return None

    def copied(self) -> Payload:
        """The payload that holds copies, in an unlinked file of its own."""
        documents = []
        with ExitStack() as opened:
            writer, reader = unlinked_file()
            opened.callback(os.close, reader)
            self._can_be_mapped = self._room.mapped_bytes > 0 and not lies_in_memory(reader)
            self._max_bytes = min(self._sources.max_bytes, COPIED_MAX_BYTES)
            with os.fdopen(writer, "wb", buffering=0) as copy:
                for source in self._sources.files:
                    start = self._hash.copy(), self._bytes, replace(self._lines)
                    document = self._copy(source, writer)
                    if document is not None:
                        documents.append(document)
                    else:
                        self._rewind(*start)
                        copy.truncate(self._bytes)
            if not documents:
                raise nothing_left(self._sources, self._skipped)
            opened.pop_all()
            return self._payload(documents, reader, None)

    def _copy(self, source: Source, writer: int) -> Document | None:
        document = None
        with skipping(source, self._skipped):
            descriptor = open_below(source.real, source.given or source.name, self._sources.roots)
            try:
                document = self._read(source, descriptor, writer)
            finally:
                os.close(descriptor)
        return document

    def _read(self, source: Source, descriptor: int, writer: int | None) -> Document | None:
        if is_archive(source.real):
            if source.given is not None:
                raise archive_refused(source.given)
            self._skipped.add(source.name, "an archive")
            return None
        detector = EncodingDetector()
        size = 0
        while block := os.pread(descriptor, BLOCK_BYTES, size):
            self._go_on()
            if self._bytes + len(block) > self._max_bytes:
                raise too_large(self._bytes + len(block), self._max_bytes)
            self._hash.update(block)
            detector.feed(block)
            if detector.is_binary:
                break
            self._check_room(self._bytes + len(block), detector)
            self._lines.feed(block)
            if writer is not None:
                append(writer, block, self._bytes)
            size += len(block)
            self._bytes += len(block)
        encoding = detector.finish()
        if encoding != BINARY:
            bad_bytes = detector.undecodable_bytes
            self._check_room(self._bytes, detector)
            self._can_be_mapped = self._can_be_mapped and detector.layout is not None
            errors = errors_of(encoding) if bad_bytes else "strict"
            return Document(source.name, size, encoding, bad_bytes, errors, detector.layout)
        if source.given is not None:
            raise binary(source.given)
        self._skipped.add(source.name, "binary")
        return None

    def _check_room(self, byte_count: int, detector: EncodingDetector) -> None:
        if byte_count > self._room.decoded_bytes and not (self._can_be_mapped and detector.layout):
            raise self._room.too_large(byte_count)

    def _rewind(self, hash_then: hashlib._Hash, bytes_then: int, lines_then: LineCount) -> None:
        self._hash, self._bytes, self._lines = hash_then, bytes_then, lines_then

    def _payload(self, documents: list[Document], descriptor: int, state: FileState | None) -> Payload:
        layouts = {document.layout for document in documents if document.byte_count} or {"ascii"}
        known = self._can_be_mapped and None not in layouts
        return Payload(
            "documents",
            tuple(documents),
            self._bytes,
            self._hash.hexdigest(),
            None,
            descriptor,
            self._skipped,
            state,
            layout=("latin-1" if "latin-1" in layouts else "ascii") if known else None,
            lines=self._lines.count if known else None,
            held=self._room.held(self._bytes, can_be_mapped=known),
            room=self._room,
        )
