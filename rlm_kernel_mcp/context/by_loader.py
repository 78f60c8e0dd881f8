"""Turns sources into one payload with a loader process, for what is large or compressed.

Is: the order of the work: opening files, passing their descriptors, taking the answers, deciding where the text is
kept. Is not: a look at any byte of a file. Above: the session, in a worker thread. Below: `payload.py`, `loader/`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Final

from rlm_kernel_mcp.both_sides.text_encoding import errors_of
from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.held import Room, is_hashed_later, lies_in_memory
from rlm_kernel_mcp.context.loader import answers
from rlm_kernel_mcp.context.loader.answers import FileRead, FileRefused
from rlm_kernel_mcp.context.loader.client import LoaderClient, write_failed
from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.context.loader.index import IndexedDocument, TextIndex
from rlm_kernel_mcp.context.loader.loaders import CancelCheck, Loaders
from rlm_kernel_mcp.context.loader.spool import Spooled
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.refusals import (
    no_disk_for_text,
    no_room_for_text,
    nothing_left,
    refusal,
    skipping,
    skips_archive,
    why,
)
from rlm_kernel_mcp.context.roots.identity import FileState, file_identity, file_state
from rlm_kernel_mcp.context.roots.opening import FileOpener, OpenedFile
from rlm_kernel_mcp.context.sources import Source, Sources, too_large
from rlm_kernel_mcp.context_wire import FILES_MAX, WIDTHS, Layout, Limits
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge
from rlm_kernel_mcp.units import MB

UTF8_AT: Final = 1 << 16
"""A multiple of every system's pages: from there on a part of a file can be mapped."""
RATIO_FROM_BYTES: Final = 64 * MB
"""Up to here a compressed file may be as dense as it likes, as a log that repeats one line is."""


def load(
    sources: Sources,
    room: Room,
    loaders: Loaders,
    *,
    copy: bool = False,
    check_cancelled: CancelCheck = lambda: None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Payload | None:
    """Have a loader read all files once. Returns None if this machine has no loaders.

    Args:
        sources: the files.
        room: how much may be decoded, and how much may be mapped.
        loaders: the server's.
        copy: copy a single file too.
        check_cancelled: called at least twice a second; raises once nobody is waiting any more.
        on_bytes: called with the number of bytes that have been read, at most all of the files'.

    Raises: as `build_payload`; KernelStartFailed, SandboxUnavailable: no loader can be started.
    """
    byte_count = sources.byte_count + loaders.unpacked_bytes
    with loaders.process(byte_count, -(-loaders.spool.left_bytes // MB), check_cancelled) as process:
        if process is None:
            return None
        client = LoaderClient(process, check_cancelled, sources.byte_count)
        client.on_progress = lambda read, made: on_bytes(min(read, sources.byte_count))
        payload = _Loading(sources, room, loaders, client, check_cancelled).payload(copy=copy)
        on_bytes(sources.byte_count)
        return payload


class _Loading:
    """The state of one call of `load`."""

    def __init__(
        self, sources: Sources, room: Room, loaders: Loaders, client: LoaderClient, check_cancelled: CancelCheck
    ) -> None:
        self._sources = sources
        self._room = room
        self._loaders = loaders
        self._client = client
        self._check_cancelled = check_cancelled
        self._opener = FileOpener(sources.roots)
        self._text_max = sources.max_bytes
        self._begin_again()

    def _begin_again(self) -> None:
        self._skipped = self._sources.skipped.copy()
        self._documents: list[Document] = []
        self._read: list[FileRead] = []
        self._states, self._passed = hashlib.sha256(), hashlib.sha256()
        self._is_unchanged = True
        """Whether no file was written to while it was read, so that sessions may share what is made of them."""

    def payload(self, *, copy: bool) -> Payload:
        """Load all files."""
        files = self._sources.files
        with closing(self._opener), ExitStack() as opened:
            is_plain = len(files) == 1 and form_of(files[0].real) == "plain"
            payload = self._in_place(files[0]) if is_plain and not copy else None
            if payload is None:
                payload = self._packed()
            opened.callback(payload.close)
            pack = payload.file
            self._index_and_place(payload)
            self._client.end()
            if pack is not None:
                pack.seal(payload.byte_count)
            opened.pop_all()
            return payload

    def _in_place(self, source: Source) -> Payload | None:
        """The payload over the user's own file; None if that is written to meanwhile."""
        self._client.begin(self._limits(self._sources.max_bytes), None)
        with ExitStack() as opened:
            file = self._opened(source)
            if file is None:
                raise nothing_left(self._sources, self._skipped)
            descriptor = file.descriptor
            opened.callback(os.close, descriptor)
            before = file_state(descriptor)
            self._take([(source, file)])
            if not self._documents:
                raise nothing_left(self._sources, self._skipped)
            # A file that is being written to is not as large as its status says.
            if before == file_state(descriptor) and before.size == self._read[0].byte_count:
                made = self._made(descriptor, before, None)
                opened.pop_all()
                return made
        self._begin_again()
        return None

    def _packed(self) -> Payload:
        """The payload whose bytes, unpacked, are concatenated in a file of the server's own."""
        with ExitStack() as opened:
            pack = self._loaders.spool.make()
            opened.callback(pack.release)
            self._client.writes.append(pack)
            self._text_max = min(self._sources.max_bytes, self._loaders.spool.left_bytes)
            self._client.begin(self._limits(self._text_max), pack.writer)
            batch: list[tuple[Source, OpenedFile]] = []
            opened.callback(_close_all, batch)
            for source in self._sources.files:
                self._check_cancelled()
                if (file := self._opened(source)) is not None:
                    batch.append((source, file))
                if len(batch) == FILES_MAX:
                    self._take_batch(batch)
            self._take_batch(batch)
            if not self._documents:
                raise nothing_left(self._sources, self._skipped)
            made = self._made(pack.reader, None, pack)
            opened.pop_all()
            return made

    def _limits(self, text_bytes: int) -> Limits:
        return {
            "text_bytes": text_bytes,
            "hash": not is_hashed_later(self._sources.byte_count),
            "unpacked_bytes": self._loaders.unpacked_bytes,
            "ratio": self._loaders.ratio,
            "ratio_from": RATIO_FROM_BYTES,
        }

    def _opened(self, source: Source) -> OpenedFile | None:
        file = None
        if not skips_archive(source, self._skipped):
            with skipping(source, self._skipped):
                file = self._opener.open(source.real, source.given or source.name)
        return file

    def _take_batch(self, batch: list[tuple[Source, OpenedFile]]) -> None:
        if batch:
            self._take(batch)
        _close_all(batch)

    def _take(self, files: Sequence[tuple[Source, OpenedFile]]) -> None:
        forms = [(form_of(source.real), source.given is not None) for source, _ in files]
        rows = self._client.files([file.descriptor for _, file in files], forms)
        for (source, file), (form, _), row in zip(files, forms, rows, strict=True):
            self._is_unchanged &= file.identity == file_identity(file.descriptor)
            self._passed.update(repr((file.identity, form)).encode())
            if isinstance(row, FileRefused):
                self._refuse(source, form, row)
                continue
            errors = errors_of(row.encoding) if row.bad_bytes else "strict"
            place = source.real, file.identity
            one = Document(source.name, row.byte_count, row.encoding, row.bad_bytes, errors, None, *place, row.looks)
            self._documents.append(one)
            self._read.append(row)
            self._states.update(repr(file.identity).encode())

    def _refuse(self, source: Source, form: str, row: FileRefused) -> None:
        """Handle a file that is not a document: skip it and note why, or raise what ends the whole load."""
        if row.reason == "too_large":
            held = sum(one.byte_count for one in self._read)
            if self._text_max < min(held + row.made, self._sources.max_bytes):
                raise self._loaders.spool.too_large(held + row.made)
            raise too_large(held + row.made, self._sources.max_bytes)
        if row.reason == "no_room":
            raise write_failed(row.errno)
        error = refusal(source, form, row, self._loaders.unpacked_bytes, self._loaders.ratio)
        if isinstance(error, ContextTooLarge):
            raise error
        with skipping(source, self._skipped):
            if row.reason == "unreadable":
                raise OSError(row.errno or errno.EIO, os.strerror(row.errno or errno.EIO))
            if source.given is not None:
                raise error
            self._skipped.add(source.name, "binary" if row.reason == "binary" else "unreadable", why(form, row))

    def _made(self, descriptor: int, state: FileState | None, pack: Spooled | None) -> Payload:
        digest, size = self._client.finish(self._read), sum(one.byte_count for one in self._read)
        documents, room, prefix = tuple(self._documents), self._room, self._sources.prefix
        made = Payload("documents", documents, size, digest, None, descriptor, self._skipped, prefix, state)
        made.room, made.file = room, pack
        made.states = self._states.hexdigest() if self._is_unchanged else None
        return made

    def _index_and_place(self, payload: Payload) -> None:
        """Index the text, and decide where it is kept; spool it if it has to be mapped and cannot be as it is."""
        room, read = self._room, self._read
        rows = self._client.index(sum(one.index_rows for one in read))
        try:
            payload.index = TextIndex([_indexed(one) for one in read], rows)
        except ValueError as error:
            raise ContextDenied(f"The context cannot be read: {error}.") from error
        layout = answers.layout_of(read)
        payload.text_bytes = text_bytes = sum(one.chars for one in read) * WIDTHS[layout]
        is_open = next((one.is_open for one in reversed(read) if one.chars), False)
        payload.lines = sum(one.line_ends for one in read) + is_open
        if room.mapped_bytes and answers.is_mappable(read):
            assert payload.descriptor is not None
            payload.layout = None if lies_in_memory(payload.descriptor) else layout
            payload.held = room.held(text_bytes, can_be_mapped=payload.layout is not None)
        elif room.in_memory_bytes < text_bytes <= room.mapped_bytes:
            try:
                self._spool(payload, layout, text_bytes)
            except ContextTooLarge:
                if max(text_bytes, payload.byte_count) > room.decoded_bytes:
                    raise
        if payload.held == "memory" and max(text_bytes, payload.byte_count) > room.decoded_bytes:
            raise room.too_large(payload.byte_count)

    def _spool(self, payload: Payload, layout: Layout, size: int) -> None:
        spool = self._loaders.spool
        if size > spool.left_bytes:
            raise no_room_for_text(payload.byte_count, size, WIDTHS[layout], spool.left_bytes)
        utf8, whole = None if layout == "ascii" else self._utf8(size), size  # ASCII is its own UTF-8
        if utf8 is not None and self._room.mapped_bytes >= 2 * sum(utf8) and sum(utf8) <= spool.left_bytes:
            whole = sum(utf8)

        def make() -> Spooled:
            made = spool.make()
            self._client.writes.append(made)
            try:
                if lies_in_memory(made.reader):
                    raise no_disk_for_text(size)
                self._client.spool(made.writer, size // WIDTHS[layout], layout, utf8 if whole > size else None)
                self._client.end()  # nobody may write to it any more once other sessions have it
                made.seal(whole)
            except BaseException:
                made.release()
                raise
            return made

        # What a loader refused may have made it lie about the rest; and a file that is named itself is not refused.
        key = self._passed.digest() + self._states.digest()
        file = spool.shared(key, make, self._check_cancelled) if self._is_unchanged else make()
        if file.byte_count not in (size, 0 if utf8 is None else sum(utf8)):
            file.release()
            file = make()
        payload.utf8 = utf8 if file.byte_count > size else None
        payload.source, payload.pack = payload.descriptor, payload.file
        payload.char_counts = tuple(one.chars for one in self._read)
        payload.descriptor, payload.file, payload.layout, payload.held = file.reader, file, layout, "spooled"

    def _utf8(self, text_bytes: int) -> tuple[int, int] | None:
        """Where the UTF-8 of the text lies behind so many bytes of it, and its size; None if that is not known."""
        size = answers.utf8_size(self._read)
        return None if size is None else (-(-text_bytes // UTF8_AT) * UTF8_AT, size)


def _close_all(batch: list[tuple[Source, OpenedFile]]) -> None:
    while batch:
        os.close(batch.pop()[1].descriptor)


def _indexed(one: FileRead) -> IndexedDocument:
    errors = errors_of(one.encoding) if one.bad_bytes else "strict"
    return IndexedDocument(one.byte_count, one.encoding, errors, one.chars, one.line_ends)
