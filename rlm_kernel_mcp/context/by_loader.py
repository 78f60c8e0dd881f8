"""Sources to one payload by a loader process: for what is large or compressed.

Is: the order of the work: files opened below the roots, handed over by descriptors, what is said of them, and where
the text then lies. Is not: a look at any byte of them. Above: the session, in a worker thread. Below: `payload.py`,
`context/loader/`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Final

from rlm_kernel_mcp.context.documents import Document, FileState, file_identity, file_state
from rlm_kernel_mcp.context.held import Room, lies_in_memory
from rlm_kernel_mcp.context.loader import answers
from rlm_kernel_mcp.context.loader.answers import FileRead, FileRefused
from rlm_kernel_mcp.context.loader.client import LoaderClient, unwritten
from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.context.loader.index import IndexedDocument, TextIndex
from rlm_kernel_mcp.context.loader.loaders import GoOn, Loaders
from rlm_kernel_mcp.context.loader.spool import Spooled
from rlm_kernel_mcp.context.paths import FileOpener, OpenedFile
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
from rlm_kernel_mcp.context.sources import Source, Sources, too_large
from rlm_kernel_mcp.context_wire import FILES_MAX, WIDTHS, Layout, Limits
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge
from rlm_kernel_mcp.text_encoding import errors_of
from rlm_kernel_mcp.units import MB

RATIO_FROM_BYTES: Final = 64 * MB
"""Before that a compressed file may be as dense as it likes: a log of one line is."""
HASHED_LATER_BYTES: Final = 64 * MB
"""Larger sources are ready without their hash, which is made meanwhile; of others it takes some 50 ms."""


def load(
    sources: Sources,
    room: Room,
    loaders: Loaders,
    *,
    copy: bool = False,
    go_on: GoOn = lambda: None,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Payload | None:
    """Have a loader read all files once; None where there is none here.

    Args:
        sources: the files.
        room: what may be decoded and what may be mapped.
        loaders: the server's.
        copy: copy a single file too.
        go_on: asked at least twice a second; raises where nobody waits any more.
        on_bytes: told how many bytes of the files are read by now.

    Raises: as `build_payload`; KernelStartFailed, SandboxUnavailable: no loader can be had.
    """
    byte_count = sources.byte_count + loaders.unpacked_bytes
    with loaders.process(byte_count, -(-loaders.spool.left_bytes // MB), go_on) as process:
        if process is None:
            return None
        client = LoaderClient(process, go_on, sources.byte_count)
        client.told = lambda read, made: on_bytes(read)
        payload = _Loading(sources, room, loaders, client, go_on).payload(copy=copy)
        on_bytes(sources.byte_count)
        return payload


class _Loading:
    """The state of one `load`."""

    def __init__(self, sources: Sources, room: Room, loaders: Loaders, client: LoaderClient, go_on: GoOn) -> None:
        self._sources = sources
        self._room = room
        self._loaders = loaders
        self._client = client
        self._go_on = go_on
        self._opener = FileOpener(sources.roots)
        self._begin_again()

    def _begin_again(self) -> None:
        self._skipped = self._sources.skipped.copy()
        self._documents: list[Document] = []
        self._read: list[FileRead] = []
        self._states = hashlib.sha256()
        self._stood_still = True
        """Whether no file was written to while it was read: what is made of it may be others' too."""

    def payload(self, *, copy: bool) -> Payload:
        """All of it."""
        files = self._sources.files
        with closing(self._opener), ExitStack() as opened:
            payload = None
            if len(files) == 1 and not copy and form_of(files[0].real) == "plain":
                payload = self._in_place(files[0])
            if payload is None:
                payload = self._packed()
            opened.callback(payload.close)
            pack = payload.file
            self._lay(payload)
            self._client.end()
            if pack is not None:
                pack.seal(payload.byte_count)
            opened.pop_all()
            return payload

    def _in_place(self, source: Source) -> Payload | None:
        """The payload over the caller's own file; None where that does not hold still."""
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
            # A file of /proc, and one being written to, is not as large as its status says.
            if before == file_state(descriptor) and before.size == self._read[0].byte_count:
                made = self._made(descriptor, before, None)
                opened.pop_all()
                return made
        self._begin_again()
        return None

    def _packed(self) -> Payload:
        """The payload whose bytes, unpacked, lie one after the other in a file of the server's own."""
        with ExitStack() as opened:
            pack = self._loaders.spool.make()
            opened.callback(pack.release)
            self._client.begin(self._limits(self._pack_bytes), pack.writer)
            batch: list[tuple[Source, OpenedFile]] = []
            opened.callback(_close_all, batch)
            for source in self._sources.files:
                self._go_on()
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

    @property
    def _pack_bytes(self) -> int:
        return min(self._sources.max_bytes, self._loaders.spool.left_bytes)

    def _limits(self, text_bytes: int) -> Limits:
        return {
            "text_bytes": text_bytes,
            "hash": self._sources.byte_count <= HASHED_LATER_BYTES,
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
        forms = [form_of(source.real) for source, _ in files]
        rows = self._client.files([file.descriptor for _, file in files], forms)
        for (source, file), form, row in zip(files, forms, rows, strict=True):
            self._stood_still &= file.identity == file_identity(file.descriptor)
            if isinstance(row, FileRefused):
                self._refuse(source, form, row)
                continue
            errors = errors_of(row.encoding) if row.bad_bytes else "strict"
            place = source.real, file.identity
            one = Document(source.name, row.byte_count, row.encoding, row.bad_bytes, errors, None, *place)
            self._documents.append(one)
            self._read.append(row)
            self._states.update(repr(file.identity).encode())

    def _refuse(self, source: Source, form: str, row: FileRefused) -> None:
        """A file that is none of the documents: left out and said, or the end of all."""
        if row.reason == "too_large":
            held = sum(one.byte_count for one in self._read)
            if self._pack_bytes < min(held + row.made, self._sources.max_bytes):
                raise self._loaders.spool.too_large(held + row.made)
            raise too_large(held + row.made, self._sources.max_bytes)
        if row.reason == "no_room":
            raise unwritten(row.errno)
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
        made.states = self._states.hexdigest() if self._stood_still else None
        return made

    def _lay(self, payload: Payload) -> None:
        """Index the text, and see to it that it can be mapped where memory is not to hold it."""
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
        if room.mapped_bytes and answers.is_laid(read):
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

        def make() -> Spooled:
            made = spool.make()
            try:
                if lies_in_memory(made.reader):
                    raise no_disk_for_text(size)
                self._client.spool(made.writer, size // WIDTHS[layout], layout)
                self._client.end()  # nobody writes to it any more once others have it
                made.seal(size)
            except BaseException:
                made.release()
                raise
            return made

        file = spool.shared(self._states.digest(), make, self._go_on) if self._stood_still else make()
        if file.byte_count != size:
            file.release()
            file = make()
        payload.source, payload.pack = payload.descriptor, payload.file
        payload.laid_chars = tuple(one.chars for one in self._read)
        payload.descriptor, payload.file, payload.layout, payload.held = file.reader, file, layout, "spooled"


def _close_all(batch: list[tuple[Source, OpenedFile]]) -> None:
    while batch:
        os.close(batch.pop()[1].descriptor)


def _indexed(one: FileRead) -> IndexedDocument:
    errors = errors_of(one.encoding) if one.bad_bytes else "strict"
    return IndexedDocument(one.byte_count, one.encoding, errors, one.chars, one.line_ends)
