"""The files of a context by paths, copied to the shared store by the machine on which the paths mean something.

Is: one look at the client's roots, one read of each file, and the manifest that names them. Is not: how files are found
and opened (`context/`), or what becomes of them at a node (`placing.py`). Above: `cluster/router/`. Below: `context/`,
`session/contexts/manifests.py`, `cluster/shared/`.

A file that is written to meanwhile is copied as it was read, as at home. What is binary at its begin or an archive is
left out here as it is at home; what turns out to be later, the node leaves out. Small files are put together: a blob
is made durable each.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.both_sides.text_encoding import EncodingDetector
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.context.copies import no_room
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.hints import binary
from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.context.loader.spool import unlinked_file
from rlm_kernel_mcp.context.refusals import nothing_left, skip_unreadable, skips_archive
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.roots.opening import FileOpener
from rlm_kernel_mcp.context.sources import AboveLimit, Source, resolve_sources, too_large
from rlm_kernel_mcp.errors import ContextDenied
from rlm_kernel_mcp.session.contexts.manifests import Copied, Manifest
from rlm_kernel_mcp.shielded import made_in_thread

BLOCK_BYTES: Final = 1 << 15
"""What tells whether a file is text."""
CHUNK_BYTES: Final = 1 << 20
"""Read at a time of a large file. A smaller file is put together with others."""
PACK_BYTES: Final = 16 << 20
LOOK_S: Final = 0.5
"""How often a thread that waits for the store looks whether its caller still waits."""
COPIERS_MAX: Final = 4
_copiers = ThreadPoolExecutor(COPIERS_MAX, thread_name_prefix="copy context")
"""Their own: each waits for threads of the store's."""
NOBODY: Final = ""
"""For whom blobs are put that no session uses yet."""


class NobodyWaits(Exception):
    """Ends a copying; nobody hears of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asked for, and by whose rights."""

    paths: Sequence[str]
    exclude: Sequence[str]
    roots: Roots
    working_dir: Path
    home: str | None
    room: Room


class Shelf:
    """The shared store, as the thread that copies uses it: each call waits for the event loop that has the store."""

    def __init__(
        self, store: SharedStore, loop: asyncio.AbstractEventLoop, check_cancelled: Callable[[], None]
    ) -> None:
        self._store, self._loop, self._check_cancelled = store, loop, check_cancelled

    def has(self, sha256: str) -> bool:
        """Whether the store has a blob."""
        return bool(self._wait(self._store.has_blob(sha256)))

    def put(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Put a blob there. Raises: ValueError: the chunks have another hash. RlmError: the store takes nothing."""
        self._wait(self._store.put_blob(NOBODY, sha256, chunks))

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while True:
                try:
                    return waiting.result(LOOK_S)
                except TimeoutError:
                    if waiting.done():
                        raise
                    self._check_cancelled()
        finally:
            waiting.cancel()


async def gathered(wanted: Wanted, store: SharedStore) -> str:
    """Copy the files to the store. Returns the hash of their manifest, which is there too.

    Raises:
        InvalidInput, ContextNotFound, ContextDenied, ContextTooLarge: as at home. StoreUnavailable.
    """
    ended = threading.Event()

    def check_cancelled() -> None:
        if ended.is_set():
            raise NobodyWaits

    shelf = Shelf(store, asyncio.get_running_loop(), check_cancelled)
    try:
        return await made_in_thread(partial(copied, wanted, shelf, check_cancelled), lambda _: None, _copiers)
    finally:
        ended.set()


def copied(wanted: Wanted, shelf: Shelf, check_cancelled: Callable[[], None]) -> str:
    """As `gathered`; blocking."""
    try:
        return _Copying(wanted, shelf, check_cancelled).manifest()
    except AboveLimit as error:
        raise error.of(wanted.room.max_of) from None


@dataclass(slots=True)
class _Pack:
    """Small files that become one blob."""

    files: list[Source] = field(default_factory=list)
    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, source: Source, data: bytes) -> None:
        self.files.append(source)
        self.parts.append(data)
        self.size += len(data)


class _Copying:
    """The state of one call of `copied`."""

    def __init__(self, wanted: Wanted, shelf: Shelf, check_cancelled: Callable[[], None]) -> None:
        self._shelf, self._check_cancelled = shelf, check_cancelled
        self._sources = resolve_sources(
            wanted.paths,
            exclude=wanted.exclude,
            roots=wanted.roots,
            working_dir=wanted.working_dir,
            home=wanted.home,
            max_bytes=wanted.room.max_bytes,
            check_cancelled=check_cancelled,
        )
        self._skipped = self._sources.skipped.copy()
        self._found: dict[str, Copied] = {}
        """By name: packs are put there as they are full, and the order is that of the sources."""
        self._pack = _Pack()
        self._bytes = 0

    def manifest(self) -> str:
        with closing(FileOpener(self._sources.roots)) as opener:
            for source in self._sources.files:
                try:
                    self._copy(source, opener)
                except (OSError, ContextDenied) as error:
                    skip_unreadable(source, self._skipped, error)
        self._end_pack()
        files = tuple(self._found[one.name] for one in self._sources.files if one.name in self._found)
        if not files:
            raise nothing_left(self._sources, self._skipped)
        data = Manifest(self._sources.prefix, files, self._skipped).data()
        return self._put(data)

    def _copy(self, source: Source, opener: FileOpener) -> None:
        if skips_archive(source, self._skipped):
            return
        descriptor, _ = opener.open(source.real, source.given or source.name)
        try:
            data = os.pread(descriptor, CHUNK_BYTES, 0)
            if form_of(source.real) == "plain" and (looks := _binary(data, named=source.given is not None)):
                self._skipped.add(source.name, "binary", looks)
            elif len(data) < CHUNK_BYTES and not os.pread(descriptor, 1, len(data)):
                self._count(len(data))
                self._pack.add(source, data)
            else:
                self._large(source, descriptor)
        finally:
            os.close(descriptor)
        if self._pack.size >= PACK_BYTES:
            self._end_pack()

    def _large(self, source: Source, descriptor: int) -> None:
        """Hashed, and read once more only where the store has not got it."""
        digest, size = hashlib.sha256(), 0
        for chunk in self._chunks(descriptor, count=True):
            digest.update(chunk)
            size += len(chunk)
        if not self._shelf.has(digest.hexdigest()):
            try:
                self._shelf.put(digest.hexdigest(), self._chunks(descriptor, size))
            except ValueError:  # it was written to in between
                with _copy_of(self._chunks(descriptor)) as (copy, digest, size):
                    self._shelf.put(digest.hexdigest(), self._chunks(copy, size))
        self._note(source, digest.hexdigest(), 0, size)

    def _end_pack(self) -> None:
        pack, self._pack = self._pack, _Pack()
        if pack.files:
            blob, offset = self._put(*pack.parts), 0
            for source, data in zip(pack.files, pack.parts, strict=True):
                self._note(source, blob, offset, len(data))
                offset += len(data)

    def _put(self, *parts: bytes) -> str:
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        self._shelf.put(digest.hexdigest(), parts)
        return digest.hexdigest()

    def _note(self, source: Source, blob: str, offset: int, size: int) -> None:
        self._found[source.name] = Copied(source.name, source.given, blob, offset, size, form_of(source.real))

    def _chunks(self, descriptor: int, most: int | None = None, *, count: bool = False) -> Iterator[bytes]:
        at = 0
        while most is None or at < most:
            self._check_cancelled()
            chunk = os.pread(descriptor, CHUNK_BYTES if most is None else min(CHUNK_BYTES, most - at), at)
            if not chunk:
                return
            if count:
                self._count(len(chunk))
            at += len(chunk)
            yield chunk

    def _count(self, size: int) -> None:
        self._check_cancelled()
        self._bytes += size
        if self._bytes > self._sources.max_bytes:
            raise too_large(self._bytes, self._sources.max_bytes)


def _binary(data: bytes, *, named: bool) -> str:
    """Why a file is left out that begins so; empty: it is not."""
    detector = EncodingDetector(takes_nul=named)
    detector.feed(data[:BLOCK_BYTES])
    return binary(detector.looks) if detector.is_binary else ""


@contextmanager
def _copy_of(chunks: Iterable[bytes]) -> Iterator[tuple[int, Any, int]]:
    """A copy that nobody writes to, its hash and its size."""
    digest, size = hashlib.sha256(), 0
    try:
        writer, reader = unlinked_file()
    except OSError as error:
        raise no_room(error) from error
    try:
        with os.fdopen(writer, "wb") as file:
            for chunk in chunks:
                try:
                    file.write(chunk)
                except OSError as error:
                    raise no_room(error) from error
                digest.update(chunk)
                size += len(chunk)
        yield reader, digest, size
    finally:
        os.close(reader)
