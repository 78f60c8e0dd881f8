"""The documents of a session's contexts, opened to read their current bytes.

Is: how each kind of source is read again: a file below the roots by `pread`, a text of the client's own from the store,
a compressed file by a loader that unpacks it again; and which of them have changed since they were loaded. Is not: a
search. Blocking, so it belongs into a worker thread. Above: `check.py`. Below: `session/contexts/`, `context/`.

Nothing is mapped: a file that is truncated while it is read would end the server, and everybody's sessions with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from typing import Self

from rlm_kernel_mcp.context.loader.compressed import form_of
from rlm_kernel_mcp.context.loader.index import ReadAt
from rlm_kernel_mcp.context.loader.places import Places
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.roots.directory import is_of_the_process
from rlm_kernel_mcp.context.roots.identity import FileIdentity, file_identity
from rlm_kernel_mcp.context.roots.open_roots import Allowed, Roots
from rlm_kernel_mcp.context.roots.opening import FileOpener, OpenedFile
from rlm_kernel_mcp.context.roots.path_errors import outside, unreadable
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext
from rlm_kernel_mcp.session.evidence.passages import OpenDocument, as_it_is_now
from rlm_kernel_mcp.session.kernels.loading import CancelCheck


@dataclass(frozen=True, slots=True)
class Listed:
    """A document that can be opened."""

    context: str
    name: str
    number: int
    byte_count: int
    """Its size when it was loaded."""


@dataclass(slots=True)
class _Held:
    """A context, and how to read the bytes of its documents."""

    context: SessionContext
    places: Places
    listed: list[Listed]
    states: dict[str, FileIdentity]
    """The identities of its files when they were loaded; a file that is missing here is known by its size alone."""
    whole: ReadAt | None = None
    """Reads all documents' bytes, one after the other; None: each is in a file of its own."""
    starts: tuple[int, ...] = ()
    """Where each document begins in them."""
    has_changed: bool = False
    """Whether all of it counts as changed since it was loaded."""
    looks_changed: Callable[[], bool] = lambda: False
    """Whether what `whole` reads has been written to since it was opened: it may be the user's own file."""


class Documents:
    """The documents of a session. Use it as a context manager, in one thread.

    Nothing is opened, and nothing unpacked, before somebody asks for a document.
    """

    def __init__(self, contexts: ContextList, check_cancelled: CancelCheck = lambda: None) -> None:
        self._contexts, self._check_cancelled = contexts, check_cancelled
        self._opened = ExitStack()
        self._openers: dict[Roots | None, FileOpener] = {}
        self.changed: set[tuple[str, str]] = set()
        """Context and document of everything found to have changed since it was loaded."""
        self.unsure: set[tuple[str, str]] = set()
        """The same of everything of which only the size is known to be as it was."""
        self.unread: list[str] = []
        """The contexts that cannot be read any more, each with the reason."""
        self.unread += [f"{one.name}: it is not loaded" for one in contexts.all if one.report is None]
        self._out_of_reach: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._opened.close()

    @property
    def has_changed(self) -> bool:
        """Whether anything is known to have changed since it was loaded: noticed here, or after a step."""
        return bool(self.changed or self.unread or self._contexts.changed())

    def is_as_loaded(self, listed: Listed) -> bool:
        """Whether a document is known to be as it was loaded. Ask once it has been read, and is no longer open."""
        key = (listed.context, listed.name)
        return key not in self.changed and key not in self.unsure

    def is_out_of_reach(self, listed: Listed) -> bool:
        """Whether a root of its context is not there any more, so that nothing is known of the file itself."""
        return listed.context in self._out_of_reach

    def _opener(self, context: SessionContext) -> FileOpener:
        """Opens the files of a context, below the roots that it was loaded by.

        Contexts with the same roots share one: it holds a descriptor for each of them.

        Raises:
            ContextDenied: the roots cannot be looked at, which says nothing about any file.
        """
        roots = context.source.roots
        opener = self._openers.get(roots)
        if opener is None:
            opener = self._openers[roots] = FileOpener(context.source.allowed(self._contexts.means.settings))
            self._opened.callback(opener.close)
        opener.look()
        return opener

    @cached_property
    def _held(self) -> list[_Held]:
        held = []
        for context in self._contexts.all:
            if context.report is None:
                continue
            try:
                held.append(self._hold(context))
            except RlmError as error:
                self.unread.append(f"{context.name}: {error.message}")
        return held

    def listed(self, name: str | None = None) -> list[Listed]:
        """All documents, or those with a document's or context's name."""
        return [
            one for held in self._held for one in held.listed if name is None or name in (one.name, held.context.name)
        ]

    def find(self, context: str, name: str) -> Listed | None:
        """One document; None if there is none with this name."""
        held = next((held for held in self._held if held.context.name == context), None)
        if held is None:
            return None
        try:
            number = held.places.number(name)
        except KeyError:
            return None
        return held.listed[number]

    @contextmanager
    def open(self, listed: Listed) -> Iterator[OpenDocument | None]:
        """Open a document for reading; None if it no longer exists, or is out of reach.

        Raises:
            ContextDenied: this server has no descriptor for it, which says nothing about the file.
        """
        held = next(held for held in self._held if held.context.name == listed.context)
        with ExitStack() as opened:
            try:
                yield self._open(held, listed, opened)
            except OSError:  # such as a network file system that is gone
                self.changed.add((listed.context, listed.name))

    def _open(self, held: _Held, listed: Listed, opened: ExitStack) -> OpenDocument | None:
        encoding, errors = held.places.codec(listed.number)
        note = partial(self.changed.add, (listed.context, listed.name))
        if held.whole is not None:
            read = _part(held.whole, held.starts[listed.number], listed.byte_count)
            one = OpenDocument(
                listed.name, None, encoding, errors, listed.byte_count, read, held.places, listed.number, note
            )
            one.path = held.places.path_of(listed.number, listed.name) or None
            if held.has_changed:
                note()
            opened.callback(lambda: note() if held.looks_changed() else None)
            return one
        path = held.places.path_of(listed.number, listed.name)
        opener = self._opener(held.context)  # outside of `try`: roots that cannot be opened say nothing about this file
        try:
            file = opener.open(path, listed.name)
        except (OSError, RlmError) as error:
            if isinstance(error, OSError) and is_of_the_process(error):
                raise unreadable(listed.name, error) from error
            self._miss(held.context, path, opener.look(), note)
            return None
        opened.callback(os.close, file.descriptor)
        opened.callback(_look_again, file, note)
        read = _at(file.descriptor, self._check_cancelled)
        known = held.states.get(path)
        if known is None:
            self.unsure.add((listed.context, listed.name))
        if file.identity.size == listed.byte_count and known in (None, file.identity):
            return OpenDocument(
                listed.name, path, encoding, errors, listed.byte_count, read, held.places, listed.number, note
            )
        note()
        if file.identity.size > self._contexts.means.room.max_bytes:  # a file of holes takes a moment to make
            return None
        return as_it_is_now(listed.name, path, encoding, file.identity.size, read, note)

    def _miss(self, context: SessionContext, path: str, allowed: Allowed, note: Callable[[], object]) -> None:
        """Note a file that cannot be opened: it is another one by now, or its root is out of reach."""
        if not allowed.lost or allowed.has(path):
            note()
        elif context.name not in self._out_of_reach:
            self._out_of_reach.add(context.name)
            why = outside(path, allowed.paths, lost=allowed.lost)
            self.unread.append(f"{context.name}: {why.message}")

    def _hold(self, context: SessionContext) -> _Held:
        """Raises: RlmError: its bytes cannot be read."""
        if context.source.file is not None:
            return self._unpacked(context)
        if context.source.paths is None:
            return self._inline(context)
        places = context.places
        if places is None or any(form_of(places.path_of(*row)) != "plain" for row in enumerate(places.names)):
            return self._unpacked(context)
        marks = context.marks
        states = {} if marks is None else dict(zip(marks.paths, marks.states, strict=True))
        return _Held(context, places, _listed(context.name, places), states)

    def _inline(self, context: SessionContext) -> _Held:
        """A text of the client's own, or JSON: the server's copy of it."""
        text = self._contexts.source_of(context).text or ""
        data = text.encode("utf-8", "surrogatepass")
        del text
        row = ((context.name, len(data), "utf-8", "surrogatepass"), "")
        places = context.places or Places([row], None, "", 0)
        return _Held(context, places, _listed(context.name, places), {}, lambda at, size: data[at : at + size], (0,))

    def _unpacked(self, context: SessionContext) -> _Held:
        """Its files, read again, by a loader if they are compressed or large."""
        contexts = self._contexts
        payload = contexts.source_of(context).open(
            contexts.means, check_cancelled=self._check_cancelled, beside=contexts.beside(context)
        )
        self._opened.enter_context(payload)
        report = context.report
        is_same = payload.states is not None and payload.states == context.states
        is_same = is_same or (report is not None and payload.sha256 is not None and payload.sha256 == report.sha256)
        places = payload.places(len(context.source.prefix))
        starts = tuple(accumulate((one.byte_count for one in payload.documents), initial=0))
        listed = _listed(context.name, places)
        read = _bytes_of(payload, self._check_cancelled)
        return _Held(context, places, listed, {}, read, starts, not is_same, payload.has_changed)


def _listed(context: str, places: Places) -> list[Listed]:
    return [Listed(context, name, number, places.size(number)) for number, name in enumerate(places.names)]


def _bytes_of(payload: Payload, check_cancelled: CancelCheck) -> ReadAt:
    """The documents' own bytes in a payload, not the wider characters in the spool."""
    if payload.data is not None:
        data = payload.data
        return lambda offset, size: data[offset : offset + size]
    descriptor = payload.descriptor if payload.source is None else payload.source
    assert descriptor is not None
    return _at(descriptor, check_cancelled)


def _at(descriptor: int, check_cancelled: CancelCheck) -> ReadAt:
    """Each read asks whether somebody waits: whatever reads all of a large file ends when nobody does any more."""

    def read(offset: int, size: int) -> bytes:
        check_cancelled()
        return os.pread(descriptor, size, offset)

    return read


def _look_again(file: OpenedFile, note: Callable[[], object]) -> None:
    """Note a file that was written to while it was read."""
    try:
        is_same = file_identity(file.descriptor) == file.identity
    except OSError:  # the file system under it is gone
        is_same = False
    if not is_same:
        note()


def _part(read: ReadAt, start: int, byte_count: int) -> Callable[[int, int], bytes]:
    return lambda offset, size: read(start + offset, min(size, byte_count - offset))
