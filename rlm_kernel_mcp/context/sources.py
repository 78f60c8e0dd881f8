"""Turns paths into sources: which files a request for `context_paths` means.

Is: resolving files, directories and globs to regular files below the allowed roots, each once, named, in order.
Is not: reading them (`payload.py`). What is decided here is checked again on each opened descriptor.
Above: the session, in a worker thread (it asks the file system). Below: `listing.py`, `paths.py`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.context.listing import Found, Lister, has_wildcard
from rlm_kernel_mcp.context.paths import (
    canonical_roots,
    checked,
    is_below,
    kind_of,
    outside,
    quoted,
    resolved,
    unreadable,
)
from rlm_kernel_mcp.errors import ContextDenied, ContextNotFound, ContextTooLarge, InvalidInput, RequestRefused
from rlm_kernel_mcp.text.printable import printable

DOCUMENT_LIMIT: Final = 200_000
"""Documents of one context."""

PATH_LIMIT: Final = 10_000
"""Paths of one request."""

SKIPPED_SHOWN: Final = 20


@dataclass(slots=True)
class Skipped:
    """Entries that were left out: how many, and the first 20 with their reasons."""

    count: int = 0
    first: list[str] = field(default_factory=list)
    last: str = ""

    def add(self, name: str, reason: str) -> None:
        self.count += 1
        self.last = f"{name}: {reason}"
        if len(self.first) < SKIPPED_SHOWN:
            self.first.append(self.last)


@dataclass(frozen=True, slots=True)
class Source:
    """One file to load. `real` is resolved; `given` is the caller's own path where it names this very file."""

    name: str
    real: str
    given: str | None = None


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a request, each once: in the order of the given paths, those of a directory or glob by name."""

    files: tuple[Source, ...]
    roots: tuple[str, ...]
    max_bytes: int
    skipped: Skipped
    byte_count: int = 0
    """Of all files, as they were when they were found."""


def resolve_sources(
    paths: Sequence[str],
    *,
    roots: Sequence[Path],
    working_dir: Path,
    max_bytes: int,
    go_on: Callable[[], None] = lambda: None,
) -> Sources:
    """Find the files that `paths` mean. A relative path is read against `working_dir`.

    A path that exists just so is that file or directory, wildcards or not; else one with `*`, `?` or `[` is a
    glob, which matches files only. Hidden entries of a directory count only if they are named. `go_on` is asked at each
    entry, and raises where nobody waits for the sources any more.

    Raises:
        InvalidInput: a path is not a possible path.
        ContextNotFound: a path, or all files of a directory or glob, are missing.
        ContextDenied: a path lies outside the roots, or is not a regular file or directory, or cannot be read.
        ContextTooLarge: more than `max_bytes` bytes, or more than 200,000 files.
    """
    if not paths:
        raise InvalidInput("context_paths is empty; it needs at least one path.")
    if len(paths) > PATH_LIMIT:
        raise InvalidInput(f"context_paths holds {len(paths):,} paths; the limit is {PATH_LIMIT:,} paths.")
    resolution = _Resolution(canonical_roots(roots), str(working_dir), max_bytes, go_on)
    for path in paths:
        resolution.add(checked(path))
    return Sources(
        tuple(resolution.files.values()), resolution.roots, max_bytes, resolution.skipped, resolution.byte_count
    )


class _Resolution:
    """The state of one `resolve_sources`."""

    def __init__(self, roots: tuple[str, ...], working_dir: str, max_bytes: int, go_on: Callable[[], None]) -> None:
        self.roots = roots
        self.files: dict[str, Source] = {}
        self.skipped = Skipped()
        try:
            self._working_dirs = (working_dir, resolved(working_dir))
        except OSError:  # names are relative to it as it is written
            self._working_dirs = (working_dir, working_dir)
        self._names: set[str] = set()
        self.byte_count = 0
        self._max_bytes = max_bytes
        self._lister = Lister(roots, lambda path, real, why: self.skipped.add(self._name(path, real), why), go_on)

    def add(self, given: str) -> None:
        path = os.path.join(self._working_dirs[0], given)  # noqa: PTH118 (keeps the path as it was given)
        if given.startswith("~") and not os.path.lexists(path):
            path = os.path.join(self._working_dirs[0], os.path.expanduser(given))  # noqa: PTH111, PTH118 (as above)
        try:
            real = resolved(path)
            if is_below(real, self.roots) and os.path.lexists(real):
                self._add_existing(given, path, real)
            elif has_wildcard(given):
                self._add_found(given, lambda: self._lister.glob(path), "The pattern {} matches no file")
            elif not is_below(real, self.roots):
                raise outside(given, self.roots)
            else:
                os.stat(real)  # noqa: PTH116 (only its error is wanted)
                raise FileNotFoundError(2, "gone")
        except OSError as error:
            raise unreadable(given, error) from error

    def _add_existing(self, given: str, path: str, real: str) -> None:
        status = os.stat(real)  # noqa: PTH116 (strings, as everywhere here)
        if stat.S_ISDIR(status.st_mode):
            self._add_found(given, lambda: self._lister.directory(real, path), "The directory {} holds no file to load")
        elif stat.S_ISREG(status.st_mode):
            self._take(Found(path, real, status.st_size), given)
        else:
            raise ContextDenied(
                f"{quoted(given)} is {kind_of(status.st_mode)}; a context is read from regular files.",
                "Give the path of a regular file or of a directory.",
            )

    def _add_found(self, given: str, find: Callable[[], Iterable[Found]], nothing: str) -> None:
        skipped_before = self.skipped.count
        try:
            found = self._bounded(find())
        except ContextDenied as error:
            raise outside(given, self.roots) from error
        if not found:
            skipped = self.skipped.count - skipped_before
            reasons = f" ({skipped:,} skipped, such as {self.skipped.last})" if skipped else ""
            raise ContextNotFound(nothing.format(quoted(given)) + reasons + ".")
        # A file that is reached directly and by a link goes by its own name.
        direct = {one.real for one in found if not one.is_link}
        for one in sorted(found, key=lambda one: one.path):
            if not one.is_link or one.real not in direct:
                self._take(one)

    def _bounded(self, found: Iterable[Found]) -> list[Found]:
        files = []
        for one in found:
            files.append(one)
            if len(files) > DOCUMENT_LIMIT:
                raise self._too_many()
        return files

    def _take(self, found: Found, given: str | None = None) -> None:
        if found.real in self.files:
            return
        self.byte_count += found.bytes
        if self.byte_count > self._max_bytes:
            raise too_large(self.byte_count, self._max_bytes)
        if len(self.files) >= DOCUMENT_LIMIT:
            raise self._too_many()
        self.files[found.real] = Source(self._unique(self._name(found.path, found.real)), found.real, given)

    def _name(self, path: str, real: str) -> str:
        """Relative to the working directory if it lies below that, else to its root."""
        for directory in self._working_dirs:
            for place in (path, real):
                if place.startswith(directory.rstrip("/") + "/") and ".." not in place.split("/"):
                    return printable(os.path.normpath(place)[len(directory.rstrip("/")) + 1 :])
        root = max((root for root in self.roots if is_below(real, (root,))), key=len, default="")
        return printable(real[len(root.rstrip("/")) + 1 :] or real)

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
            f"context_paths name more than {DOCUMENT_LIMIT:,} files, which is the limit of one context.",
            "Name a narrower directory or pattern.",
        )


def too_large(found_bytes: int, max_bytes: int) -> RequestRefused:
    """The error for a context above the limit."""
    return ContextTooLarge(
        f"The context has {found_bytes:,} bytes or more; the limit is {max_bytes:,} bytes, "
        "a part of the session's memory (RLM_MEMORY_LIMIT_MB)."
    )
