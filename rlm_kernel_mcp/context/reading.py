"""Turns sources into one payload: the bytes that a kernel loads as its context, and what is known about them.

Is: one read of every file, in small blocks, that hashes, detects the encoding and (for several files) concatenates the
bytes in an unlinked temporary file. Is not: decoding, which the kernel does. Above: the session, in a worker thread.
Below: `payload.py`, `copies.py`, `held.py`, `roots/`, `text_encoding.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import BINARY, EncodingDetector, errors_of
from rlm_kernel_mcp.context.copies import Concatenation, no_room
from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.held import COPIED_MAX_BYTES, Room, lies_in_memory
from rlm_kernel_mcp.context.hints import binary
from rlm_kernel_mcp.context.loader.spool import unlinked_file
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.refusals import nothing_left, skip_unreadable, skipping, skips_archive
from rlm_kernel_mcp.context.roots.identity import FileIdentity, FileState, file_identity, file_state
from rlm_kernel_mcp.context.roots.opening import FileOpener, allowed_now, open_below
from rlm_kernel_mcp.context.sources import Source, Sources, too_large
from rlm_kernel_mcp.context_wire import Layout
from rlm_kernel_mcp.errors import ContextDenied

BLOCK_BYTES: Final = 1 << 15
"""Read at a time. Larger blocks are slower, since block and decoded text no longer fit the processor's cache."""


def build_payload(
    sources: Sources,
    *,
    room: Room | None = None,
    copy: bool = False,
    check_cancelled: Callable[[], None] = lambda: None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Payload:
    """Read all files once. A single file stays where it is, and its own descriptor is passed on; several are copied.

    A file that was found in a directory or by a glob and is binary, or can no longer be read, is skipped.

    Args:
        sources: the files.
        room: how much may be decoded, and how much may be mapped; None to decode all that `sources` allows.
        copy: copy a single file too. That is also done if it is written to while it is read.
        check_cancelled: called for each block; raises once nobody is waiting for the payload any more.
        on_bytes: called with the number of bytes that have been read.

    Raises:
        InvalidInput: an archive was named itself.
        ContextNotFound: a named file is gone, or no file is left.
        ContextDenied: a named file cannot be read, or has been replaced.
        ContextTooLarge: there is more than `max_bytes`, more than may be decoded, or no room for the copy.
    """
    reading = _Reading(sources, room or Room(sources.max_bytes), check_cancelled, on_bytes)
    if len(sources.files) == 1 and not copy and (payload := reading.in_place(sources.files[0])):
        return payload
    return reading.copied()


class _Reading:
    """The state of one call of `build_payload`."""

    def __init__(
        self, sources: Sources, room: Room, check_cancelled: Callable[[], None], on_bytes: Callable[[int], None]
    ) -> None:
        self._sources = sources
        self._room = room
        self._max_bytes = sources.max_bytes
        self._can_be_mapped = room.mapped_bytes > 0
        """True until a document turns up that has to be decoded."""
        self._concatenation = Concatenation()
        self._check_cancelled = check_cancelled
        self._on_bytes = on_bytes
        self._skipped = sources.skipped.copy()
        self._opener = FileOpener(sources.roots)

    def in_place(self, source: Source) -> Payload | None:
        """The payload over the user's own file; None if that is written to meanwhile."""
        document = None
        with ExitStack() as opened, skipping(source, self._skipped):
            with allowed_now(self._sources.roots) as allowed:
                descriptor = open_below(source.real, source.given or source.name, allowed)
            opened.callback(os.close, descriptor)
            before = file_state(descriptor)
            self._can_be_mapped = self._can_be_mapped and not lies_in_memory(descriptor)
            document = self._read(source, descriptor, file_identity(descriptor))
            # A file that is being written to is not as large as its status says.
            if document is not None and before == file_state(descriptor) and before.size == document.byte_count:
                opened.pop_all()
                return self._payload([document], descriptor, before)
        if document is None:
            raise nothing_left(self._sources, self._skipped)
        return None

    def copied(self) -> Payload:
        """The payload of copies, in an unlinked file of the server's own."""
        documents = []
        with ExitStack() as opened:
            try:
                writer, reader = unlinked_file()
            except OSError as error:
                raise no_room(error) from error
            opened.callback(os.close, reader)
            self._can_be_mapped = self._room.mapped_bytes > 0 and not lies_in_memory(reader)
            self._max_bytes = min(self._sources.max_bytes, COPIED_MAX_BYTES)
            with closing(self._opener), os.fdopen(writer, "wb", buffering=0):
                self._concatenation = Concatenation(writer)
                for source in self._sources.files:
                    self._concatenation.begin()
                    document = self._copy(source)
                    if document is not None:
                        documents.append(document)
                    else:
                        self._concatenation.discard_document()
                if not documents:
                    raise nothing_left(self._sources, self._skipped)
                payload = self._payload(documents, reader, None)
            opened.pop_all()
            return payload

    def _copy(self, source: Source) -> Document | None:
        try:
            descriptor, identity = self._opener.open(source.real, source.given or source.name)
            try:
                return self._read(source, descriptor, identity)
            finally:
                os.close(descriptor)
        except (OSError, ContextDenied) as error:
            skip_unreadable(source, self._skipped, error)
            return None

    def _read(self, source: Source, descriptor: int, identity: FileIdentity) -> Document | None:
        if skips_archive(source, self._skipped):
            return None
        block = os.pread(descriptor, BLOCK_BYTES, 0)
        size = len(block)
        if size == identity.size and size < BLOCK_BYTES and block.isascii() and b"\0" not in block:
            # Most documents take this short cut: read whole at once, and plain ASCII.
            if block:
                self._take(block, "ascii")
            return Document(source.name, size, "utf-8", 0, "strict", "ascii", source.real, identity, "", size)
        return self._detected(source, descriptor, block, identity)

    def _detected(self, source: Source, descriptor: int, block: bytes, identity: FileIdentity) -> Document | None:
        detector = EncodingDetector(takes_nul=source.given is not None)
        size = 0
        while block:
            detector.feed(block)
            if detector.is_binary:
                break
            self._take(block, detector.layout)
            size += len(block)
            if size == identity.size and len(block) < BLOCK_BYTES:
                break  # this was all that the file had when it was opened
            block = os.pread(descriptor, BLOCK_BYTES, size)
        encoding, bad_bytes, layout = detector.finish(), detector.undecodable_bytes, detector.layout
        if encoding != BINARY:
            self._check_room(self._concatenation.byte_count, layout)
            self._can_be_mapped = self._can_be_mapped and layout is not None
            errors = errors_of(encoding) if bad_bytes else "strict"
            more = source.real, identity, detector.looks, detector.chars
            return Document(source.name, size, encoding, bad_bytes, errors, layout, *more)
        self._skipped.add(source.name, "binary", binary(detector.looks))
        return None

    def _take(self, block: bytes, layout: Layout | None) -> None:
        """Take a block of what has been text so far."""
        self._check_cancelled()
        byte_count = self._concatenation.byte_count + len(block)
        if byte_count > self._max_bytes:
            raise too_large(byte_count, self._max_bytes)
        self._check_room(byte_count, layout)
        self._concatenation.append(block)
        self._on_bytes(byte_count)

    def _check_room(self, byte_count: int, layout: Layout | None) -> None:
        if byte_count > self._room.decoded_bytes and not (self._can_be_mapped and layout):
            raise self._room.too_large(byte_count)

    def _payload(self, documents: list[Document], descriptor: int, state: FileState | None) -> Payload:
        layouts = {document.layout for document in documents if document.byte_count} or {"ascii"}
        known = self._can_be_mapped and None not in layouts
        return Payload(
            "documents",
            tuple(documents),
            self._concatenation.byte_count,
            self._concatenation.sha256(),
            None,
            descriptor,
            self._skipped,
            self._sources.prefix,
            state,
            layout=("latin-1" if "latin-1" in layouts else "ascii") if known else None,
            lines=self._concatenation.line_count() if known else None,
            held=self._room.held(self._concatenation.byte_count, can_be_mapped=known),
            room=self._room,
        )
