"""Turns paths into sources: which files a request for `context_paths` means.

Is: resolving files, directories and globs to regular files below the allowed roots, each once, named, in order.
Is not: reading them (`payload.py`). What is decided here is checked again on each opened descriptor.
Above: the session, in a worker thread (it asks the file system). Below: `listing.py`, `ignoring.py`, `paths.py`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.held import SESSION_MEMORY
from rlm_kernel_mcp.context.ignoring import Exclusions
from rlm_kernel_mcp.context.listing import Entry, Lister
from rlm_kernel_mcp.context.paths import (
    canonical_roots,
    checked,
    is_below,
    is_kernels,
    kind_of,
    made_up,
    outside,
    quoted,
    resolved,
    unreadable,
)
from rlm_kernel_mcp.context.patterns.globs import Glob, has_wildcard
from rlm_kernel_mcp.context.patterns.left_out import Kind, Skipped
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput
from rlm_kernel_mcp.text.printable import printable

DOCUMENT_LIMIT: Final = 200_000
"""Documents of one context."""

PATH_LIMIT: Final = 10_000
"""Paths of one request."""

_PATH: Final = attrgetter("path")


class Source(NamedTuple):
    """One file to load. `real` is resolved; `given` is the caller's own path where it names this very file."""

    name: str
    real: str
    given: str | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a request, each once: in the order of the given paths, those of a directory or glob by name."""

    files: tuple[Source, ...]
    prefix: str
    """The directory that all names are relative to, as an absolute path."""
    roots: tuple[str, ...]
    max_bytes: int
    skipped: Skipped
    byte_count: int = 0
    """Of all files, as they were when they were found."""


def resolve_sources(
    paths: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    roots: Sequence[Path],
    working_dir: Path,
    max_bytes: int,
    go_on: Callable[[], None] = lambda: None,
) -> Sources:
    """Find the files that `paths` mean. A relative path is read against `working_dir`.

    A path that exists just so is that file or directory, wildcards or not; else one with `*`, `?` or `[` is a
    glob, which matches files only. What directories leave out (hidden, vendored, ignored, excluded) is loaded where it
    is named. `go_on` is asked at each entry, and raises where nobody waits for the sources any more.

    Raises:
        InvalidInput: a path is not a possible path, or a pattern of `exclude` can match nothing.
        ContextNotFound: a path, or all files of a directory or glob, are missing.
        ContextDenied: a path lies outside the roots, or is not a regular file or directory, or cannot be read.
        ContextTooLarge: more than `max_bytes` bytes, or more than 200,000 files.
    """
    if not paths:
        raise InvalidInput("context_paths is empty; it needs at least one path.")
    if len(paths) > PATH_LIMIT:
        raise InvalidInput(f"context_paths holds {len(paths):,} paths; the limit is {PATH_LIMIT:,} paths.")
    allowed = canonical_roots(roots)
    exclusions = Exclusions(exclude, str(working_dir))
    places = [_place(checked(path), str(working_dir), allowed) for path in paths]
    prefix = os.path.commonpath([place.base for place in places])
    resolution = _Resolution(allowed, prefix, max_bytes)
    lister = Lister(allowed, exclusions, resolution.skip, go_on)
    for place in places:
        resolution.add(place, lister)
    files = tuple(resolution.files.values())
    return Sources(files, prefix, allowed, max_bytes, resolution.skipped, resolution.byte_count)


@dataclass(frozen=True, slots=True)
class _Place:
    """What one path of the request means, before anything is looked for there."""

    given: str
    path: str
    """Absolute, as it was given but for `.` and `..`."""
    real: str
    base: str
    """The directory that its files' names are relative to."""
    bytes: int | None = None
    """Of a file; None of a directory or a glob."""
    glob: Glob | None = None


def _place(given: str, working_dir: str, roots: tuple[str, ...]) -> _Place:
    path = os.path.join(working_dir, given)  # noqa: PTH118 (keeps the path as it was given)
    if given.startswith("~") and not os.path.lexists(path):
        path = os.path.join(working_dir, os.path.expanduser(given))  # noqa: PTH111, PTH118 (as above)
    try:
        real = resolved(path)
        is_inside = is_below(real, roots)
        if is_inside and os.path.lexists(real):
            return _place_of_what_is_there(given, path, real)
        if has_wildcard(given):
            glob = Glob(path)
            if ".." in path.split("/"):
                glob.base = resolved(glob.base)
            return _Place(given, path, real, glob.base, glob=glob)
        if not is_inside:
            raise outside(given, roots)
        os.stat(real)  # noqa: PTH116 (only its error is wanted)
        raise FileNotFoundError(2, "gone")
    except OSError as error:
        raise unreadable(given, error) from error


def _place_of_what_is_there(given: str, path: str, real: str) -> _Place:
    # After a link, `..` is not what the text says.
    path = real if ".." in path.split("/") else os.path.normpath(path)
    path = "/" + path.lstrip("/")  # two slashes at the beginning are one path here, and two for normpath
    status = os.stat(real)  # noqa: PTH116 (strings, as everywhere here)
    if is_kernels(status.st_dev):
        raise made_up(given)
    if stat.S_ISDIR(status.st_mode):
        return _Place(given, path, real, path)
    if stat.S_ISREG(status.st_mode):
        return _Place(given, path, real, os.path.dirname(path), status.st_size)  # noqa: PTH120 (as above)
    raise ContextDenied(
        f"{quoted(given)} is {kind_of(status.st_mode)}; a context is read from regular files.",
        "Give the path of a regular file or of a directory.",
    )


class _Resolution:
    """The state of one `resolve_sources`."""

    def __init__(self, roots: tuple[str, ...], prefix: str, max_bytes: int) -> None:
        self.files: dict[str, Source] = {}
        self.skipped = Skipped()
        self._roots = roots
        self._prefix_chars = len(prefix.rstrip("/")) + 1
        self._names: set[str] = set()
        self.byte_count = 0
        self._max_bytes = max_bytes

    def add(self, place: _Place, lister: Lister) -> None:
        """Look for the files of one path."""
        try:
            if place.bytes is not None:
                self._take(place.path, place.real, place.bytes, place.given)
            elif place.glob is not None:
                found = lister.glob(place.glob, place.given)
                self._add_found(place.given, found, "The pattern {} matches no file")
            else:
                found = lister.directory(place.real, place.path)
                self._add_found(place.given, found, "The directory {} holds no file to load")
        except OSError as error:
            raise unreadable(place.given, error) from error

    def skip(self, path: str, kind: Kind, reason: str) -> None:
        """Note an entry that was left out."""
        self.skipped.add(self._name(path), kind, reason)

    def _add_found(self, given: str, found: Iterable[Entry], nothing: str) -> None:
        skipped_before = self.skipped.count
        files = self._bounded(found)
        if not files:
            skipped = self.skipped.count - skipped_before
            reasons = f" ({skipped:,} skipped, such as {self.skipped.last})" if skipped else ""
            raise ContextNotFound(nothing.format(quoted(given)) + reasons + ".")
        # A file that is reached directly and by a link goes by its own name.
        direct = {one.real for one in files if not one.is_link} if any(one.is_link for one in files) else set()
        for one in sorted(files, key=_PATH):
            if not one.is_link or one.real not in direct:
                self._take(one.path, one.real, one.bytes)

    def _bounded(self, found: Iterable[Entry]) -> list[Entry]:
        files = []
        for one in found:
            files.append(one)
            if len(files) > DOCUMENT_LIMIT:
                raise self._too_many()
        return files

    def _take(self, path: str, real: str, byte_count: int, given: str | None = None) -> None:
        if real in self.files:
            return
        self.byte_count += byte_count
        if self.byte_count > self._max_bytes:
            raise too_large(self.byte_count, self._max_bytes)
        if len(self.files) >= DOCUMENT_LIMIT:
            raise self._too_many()
        self.files[real] = Source(self._unique(self._name(path)), real, given)

    def _name(self, path: str) -> str:
        return printable(path[self._prefix_chars :] or path)

    def _unique(self, name: str) -> str:
        unique, number = name, 1
        while unique in self._names:
            number += 1
            unique = f"{name} ({number})"
        self._names.add(unique)
        return unique

    @staticmethod
    def _too_many() -> ContextTooLarge:
        return ContextTooLarge(
            f"context_paths mean more than {DOCUMENT_LIMIT:,} files, which is the limit of one context.",
            "Name a narrower directory or pattern, or leave files out by exclude.",
        )


class AboveLimit(ContextTooLarge):
    """A context above `max_bytes`. Who knows what that limit is says so: `of`."""

    def __init__(self, found_bytes: int, max_bytes: int) -> None:
        self.numbers = f"The context has {found_bytes:,} bytes or more; the limit is {max_bytes:,} bytes"
        super().__init__(f"{self.numbers}, {SESSION_MEMORY}.")

    def of(self, limit: str) -> ContextTooLarge:
        """The error to raise. `limit`: what the limit is, in words."""
        return ContextTooLarge(f"{self.numbers}, {limit}.")


def too_large(found_bytes: int, max_bytes: int) -> AboveLimit:
    """The error for a context above the limit."""
    return AboveLimit(found_bytes, max_bytes)
