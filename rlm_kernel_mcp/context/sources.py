"""Turns paths into sources: which files a request's `context_paths` stand for.

Is: resolving files, directories and globs to regular files below the allowed roots, each once, named, in order.
Is not: reading them (`reading.py`, `by_loader.py`). What is decided here is checked again on each opened descriptor.
Above: the session, in a worker thread (file systems can be slow). Below: `listing.py`, `ignoring.py`, `roots/`.
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
from rlm_kernel_mcp.context.patterns.globs import Glob, has_wildcard
from rlm_kernel_mcp.context.patterns.left_out import Kind, Skipped
from rlm_kernel_mcp.context.roots.open_roots import Allowed, Roots
from rlm_kernel_mcp.context.roots.opening import allowed_now, resolved
from rlm_kernel_mcp.context.roots.path_errors import (
    begins_at,
    checked,
    kind_of,
    outside,
    pseudo_file,
    quoted,
    unreadable,
)
from rlm_kernel_mcp.context.roots.pseudo_files import is_on_pseudo_filesystem
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput
from rlm_kernel_mcp.text.home_directory import with_home
from rlm_kernel_mcp.text.printable import printable

DOCUMENT_LIMIT: Final = 200_000
"""Most documents that one context may have."""

PATH_LIMIT: Final = 10_000
"""Most paths that one request may name."""

NOTED_MAX: Final = 100_000
"""Entries left out that are counted once each, however many paths come to them; one more may be counted twice."""

_PATH: Final = attrgetter("path")


class Source(NamedTuple):
    """One file to load. `real` is its resolved path; `given` is the caller's own path, if it names this very file."""

    name: str
    real: str
    given: str | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a request, each once, in the order of its paths; those of a directory or glob are sorted by name."""

    files: tuple[Source, ...]
    prefix: str
    """The directory that all names are relative to, as an absolute path."""
    roots: Roots
    max_bytes: int
    skipped: Skipped
    byte_count: int = 0
    """Total size of the files when they were found."""


def resolve_sources(  # noqa: PLR0913 (three of them are one client's)
    paths: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    roots: Roots,
    working_dir: Path,
    home: str | None = None,
    max_bytes: int,
    check_cancelled: Callable[[], None] = lambda: None,
) -> Sources:
    """Find the files that `paths` stand for. A relative path is relative to `working_dir`; `~` stands for `home`.

    A path that exists literally is that file or directory, even if it contains wildcards; otherwise a path with `*`,
    `?`, `[` or `{a,b}` is a glob, which matches only files. What a directory leaves out (hidden, vendored, ignored,
    excluded) is loaded if it is named itself. `check_cancelled` is called for each entry, and raises once nobody is
    waiting.

    Raises:
        InvalidInput: a path is not a possible path, or a pattern in `exclude` can match nothing.
        ContextNotFound: a path does not exist, or a directory or glob has no file to load.
        ContextDenied: a path is outside the roots, is neither a regular file nor a directory, or cannot be read.
        ContextTooLarge: more than `max_bytes` bytes, or more than 200,000 files.
    """
    if not paths:
        raise InvalidInput("context_paths is empty; it needs at least one path.")
    if len(paths) > PATH_LIMIT:
        raise InvalidInput(f"context_paths holds {len(paths):,} paths; the limit is {PATH_LIMIT:,} paths.")
    exclusions = Exclusions(exclude, str(working_dir), home)
    with allowed_now(roots) as allowed:
        requested = [_requested_path(checked(path), str(working_dir), home, allowed) for path in paths]
        prefix = os.path.commonpath([one.base for one in requested])
        resolution = _Resolution(prefix, max_bytes, requested)
        lister = Lister(allowed, exclusions, resolution.skip, check_cancelled)
        for one in requested:
            resolution.add(one, lister)
    files = tuple(resolution.files.values())
    return Sources(files, prefix, roots, max_bytes, resolution.skipped, resolution.byte_count)


@dataclass(frozen=True, slots=True)
class _RequestedPath:
    """One path of the request, resolved, before its files are searched for."""

    given: str
    path: str
    """Absolute; as given, except for `.` and `..`."""
    real: str
    base: str
    """The directory that the names of its files are relative to."""
    bytes: int | None = None
    """Size of a file; None for a directory or a glob."""
    glob: Glob | None = None
    begins: str = ""
    """As `begins_at` has it."""


def _requested_path(given: str, working_dir: str, home: str | None, allowed: Allowed) -> _RequestedPath:
    path = os.path.join(working_dir, given)  # noqa: PTH118 (keeps the path as it was given)
    if given.startswith("~") and not os.path.lexists(path):
        path = os.path.join(working_dir, with_home(given, home))  # noqa: PTH118 (as above)
    begins = begins_at(given, working_dir)
    try:
        real = resolved(path)
        is_inside = allowed.has(real)
        if is_inside and os.path.lexists(real):
            return _existing_path(given, path, real)
        if has_wildcard(given):
            glob = Glob(path)
            if ".." in path.split("/"):
                glob.base = resolved(glob.base)
            return _RequestedPath(given, path, real, glob.base, glob=glob, begins=begins)
        if not is_inside:
            raise outside(given, allowed.paths, begins, lost=allowed.lost)
        os.stat(real)  # noqa: PTH116 (only its error is wanted)
        raise FileNotFoundError(2, "gone")
    except OSError as error:
        raise unreadable(given, error, begins) from error


def _existing_path(given: str, path: str, real: str) -> _RequestedPath:
    # Behind a symbolic link, `..` is not the directory that the text suggests.
    path = real if ".." in path.split("/") else os.path.normpath(path)
    path = "/" + path.lstrip("/")  # normpath keeps two leading slashes, which mean nothing on Linux
    status = os.stat(real)  # noqa: PTH116 (strings, as everywhere here)
    if is_on_pseudo_filesystem(status.st_dev):
        raise pseudo_file(given)
    if stat.S_ISDIR(status.st_mode):
        return _RequestedPath(given, path, real, path)
    if stat.S_ISREG(status.st_mode):
        return _RequestedPath(given, path, real, os.path.dirname(path), status.st_size)  # noqa: PTH120 (as above)
    raise ContextDenied(
        f"{quoted(given)} is {kind_of(status.st_mode)}; a context is read from regular files.",
        "Give the path of a regular file or of a directory.",
    )


class _Resolution:
    """The state of one call of `resolve_sources`."""

    def __init__(self, prefix: str, max_bytes: int, requested: Sequence[_RequestedPath]) -> None:
        self.files: dict[str, Source] = {}
        self.skipped = Skipped()
        self._prefix_chars = len(prefix.rstrip("/")) + 1
        self._names: set[str] = set()
        self._named = {one.path for one in requested if one.glob is None}
        self._noted: set[str] = set()
        """What was left out so far, if another path may come to it again."""
        self._are_several = len(requested) > 1
        self.byte_count = 0
        self._max_bytes = max_bytes

    def add(self, one: _RequestedPath, lister: Lister) -> None:
        """Find the files of one path."""
        try:
            if one.bytes is not None:
                self._take(one.path, one.real, one.bytes, one.given)
            elif one.glob is not None:
                found = lister.glob(one.glob, one.given)
                self._add_found(one, found, "The pattern {} matches no file")
            else:
                found = lister.directory(one.real, one.path)
                self._add_found(one, found, "The directory {} holds no file to load")
        except OSError as error:
            raise unreadable(one.given, error, one.begins) from error

    def skip(self, path: str, kind: Kind, reason: str) -> None:
        """Note an entry that was left out, once: it may be found by several paths, or be named by one of them."""
        if path in self._named or path in self._noted:
            return
        if self._are_several and len(self._noted) < NOTED_MAX:
            self._noted.add(path)
        self.skipped.add(self._name(path), kind, reason)

    def _add_found(self, requested: _RequestedPath, found: Iterable[Entry], nothing: str) -> None:
        skipped_before = self.skipped.count
        files = self._bounded(found)
        if not files:
            skipped = self.skipped.count - skipped_before
            reasons = f" ({skipped:,} skipped, such as {self.skipped.last})" if skipped else ""
            raise ContextNotFound(f"{nothing.format(quoted(requested.given))}{reasons}.{requested.begins}")
        # A file that is found both directly and by way of a link gets its own name.
        direct = {one.real for one in files if not one.is_link} if any(one.is_link for one in files) else set()
        for one in sorted(files, key=_PATH):
            if one.is_link and (one.real in direct or self._has_under_another_name(one)):
                self.skip(one.path, "link", "a link to a file that is loaded under another name")
            else:
                self._take(one.path, one.real, one.bytes)

    def _has_under_another_name(self, one: Entry) -> bool:
        return one.real in self.files and self.files[one.real].name != self._name(one.path)

    def _bounded(self, found: Iterable[Entry]) -> list[Entry]:
        files = []
        for one in found:
            files.append(one)
            if len(files) > DOCUMENT_LIMIT:
                raise self._too_many()
        return files

    def _take(self, path: str, real: str, byte_count: int, given: str | None = None) -> None:
        if (known := self.files.get(real)) is not None:
            if given is not None:
                self.files[real] = known._replace(given=given)
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
            f"context_paths stand for more than {DOCUMENT_LIMIT:,} files, which is the limit of one context.",
            "Name a narrower directory or pattern, or leave files out with exclude.",
        )


class AboveLimit(ContextTooLarge):
    """A context above `max_bytes`. A caller that knows what sets that limit names it by `of`."""

    def __init__(self, found_bytes: int, max_bytes: int) -> None:
        self.numbers = f"The context has {found_bytes:,} bytes or more; the limit is {max_bytes:,} bytes"
        super().__init__(f"{self.numbers}, {SESSION_MEMORY}.")

    def of(self, limit: str) -> ContextTooLarge:
        """The error to raise. `limit`: what sets the limit, in words."""
        return ContextTooLarge(f"{self.numbers}, {limit}.")


def too_large(found_bytes: int, max_bytes: int) -> AboveLimit:
    """The error for a context above the limit."""
    return AboveLimit(found_bytes, max_bytes)
