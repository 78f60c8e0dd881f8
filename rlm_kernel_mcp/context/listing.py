"""What lies in a directory or matches a glob, below the allowed roots.

Is: walking directories without leaving the roots, without following links in circles, and with a bounded number
of entries. Is not: what the files hold (`payload.py`), nor their names and order (`sources.py`).
Above: `sources.py`. Below: `paths.py`.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.context.paths import cause, is_below, kind_of, open_below, outside, resolved
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge, InvalidInput

ENTRY_LIMIT: Final = 2_000_000
"""Directory entries that one request looks at."""

_MAGIC: Final = re.compile(r"[*?\[]")
_ANY_DEPTH: Final = "**"


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that was found. `path` is as it was reached, `real` with all links resolved."""

    path: str
    real: str
    bytes: int
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    path: str
    real: str
    """Resolved but for the entry itself, which may be a link."""
    mode: int
    bytes: int
    is_link: bool = False

    @property
    def is_hidden(self) -> bool:
        return self.name.startswith(".")


class Glob:
    """An absolute pattern: the directory before the first wildcard, and the parts that are matched below it.

    A state is the set of parts that the next entry's name may match, so that one visit of a directory is enough
    however many `**` the pattern has.
    """

    def __init__(self, pattern: str) -> None:
        parts = [part for part in pattern.split("/") if part not in ("", ".")]
        first = next(at for at, part in enumerate(parts) if has_wildcard(part))
        if ".." in parts[first:]:
            raise InvalidInput("A pattern has '..' after a wildcard; put the '..' before the first wildcard.")
        self.base = "/" + "/".join(parts[:first])
        pairs = zip(parts[first:], ("", *parts[first:]), strict=False)
        wild = [part for part, before in pairs if (part, before) != (_ANY_DEPTH,) * 2]
        self._tests = [None if part == _ANY_DEPTH else re.compile(fnmatch.translate(part)).match for part in wild]
        self._shows_hidden = [part.startswith(".") for part in wild]
        self.start = self._with_depth({0})

    def step(self, state: frozenset[int], name: str) -> tuple[bool, frozenset[int], frozenset[int]]:
        """Match an entry's name: whether it is a whole match, and the states inside it if it is a directory.

        The first state came by parts that name the entry, the second by `**`.
        """
        by_name, by_depth = set(), set()
        for at in state:
            test = self._tests[at]
            if name.startswith(".") and not self._shows_hidden[at]:
                continue
            if test is None:
                by_depth.add(at)
            elif test(name):
                by_name.add(at + 1)
        end = len(self._tests)
        is_match = end in by_name or end - 1 in by_depth
        return is_match, self._with_depth(by_name - {end}), self._with_depth(by_depth)

    def _with_depth(self, state: set[int]) -> frozenset[int]:
        # `**` may match no directory at all, so the part after it may come at once.
        last = len(self._tests) - 1
        return frozenset(state | {at + 1 for at in state if self._tests[at] is None and at < last})


@dataclass(slots=True)
class Lister:
    """Lists directories for one request."""

    roots: tuple[str, ...]
    skip: Callable[[str, str, str], None]
    """Told of each entry that is left out: its path as it was reached, its resolved path, and why."""
    go_on: Callable[[], None]
    """Asked at each entry; raises where nobody waits for the list any more."""
    seen_entries: int = field(default=0, init=False)

    def directory(self, real: str, path: str) -> Iterator[Found]:
        """All files below a directory, at any depth. Hidden entries and links to directories are skipped, and said.

        Raises:
            ContextDenied, OSError: the directory itself cannot be read; one below it is skipped.
        """
        waiting = [(real, path)]
        while waiting:
            for entry in self._entries(*waiting.pop(), is_start=path):
                if entry.is_hidden:
                    self._skip(entry, "hidden")
                elif stat.S_ISDIR(entry.mode):
                    waiting.append((entry.real, entry.path))
                elif target := self._target(entry):
                    if stat.S_ISDIR(target.mode):
                        self._skip(entry, "a link to a directory; name it itself to load it")
                    else:
                        yield from self._file(target)

    def glob(self, pattern: str) -> Iterator[Found]:
        """All files that match an absolute pattern; what does not match is not mentioned.

        A link to a directory is entered where a part of the pattern names it, not by `**`.

        Raises:
            InvalidInput: `..` stands after a wildcard.
            ContextDenied, OSError: the directory before the first wildcard lies outside the roots, or cannot be read.
        """
        glob = Glob(pattern)
        start = resolved(glob.base)
        if not is_below(start, self.roots):
            raise outside(pattern, self.roots)
        waiting = [(start, glob.base, glob.start)]
        visited = set()
        while waiting:
            real, path, state = waiting.pop()
            if (real, state) in visited:
                continue
            visited.add((real, state))
            for entry in self._entries(real, path, is_start=glob.base):
                is_match, by_name, by_depth = glob.step(state, entry.name)
                if stat.S_ISDIR(entry.mode):
                    if inside := by_name | by_depth:
                        waiting.append((entry.real, entry.path, inside))
                elif (is_match or by_name) and (target := self._target(entry)):
                    if not stat.S_ISDIR(target.mode):
                        yield from self._file(target) if is_match else ()
                    elif by_name:
                        waiting.append((target.real, entry.path, by_name))

    def _entries(self, real: str, path: str, *, is_start: str) -> list[_Entry]:
        try:
            descriptor = open_below(real, path, self.roots, directory=True)
            try:
                with os.scandir(descriptor) as found:
                    return [entry for one in found if (entry := self._entry(one, real, path))]
            finally:
                os.close(descriptor)
        except (ContextDenied, OSError) as error:
            if path == is_start:
                raise
            self.skip(path, real, cause(error) if isinstance(error, OSError) else "replaced while it was opened")
            return []

    def _entry(self, entry: os.DirEntry[str], real: str, path: str) -> _Entry | None:
        self.go_on()
        self.seen_entries += 1
        if self.seen_entries > ENTRY_LIMIT:
            raise ContextTooLarge(
                f"context_paths reach more than {ENTRY_LIMIT:,} directory entries.",
                "Name a narrower directory or pattern.",
            )
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:  # this entry alone: it went while the directory was listed
            self.skip(_join(path, entry.name), _join(real, entry.name), cause(error))
            return None
        return _Entry(entry.name, _join(path, entry.name), _join(real, entry.name), status.st_mode, status.st_size)

    def _target(self, entry: _Entry) -> _Entry | None:
        """What a link leads to, under the link's own path; an entry that is not a link is its own target."""
        if not stat.S_ISLNK(entry.mode):
            return entry
        try:
            real = resolved(entry.real)
            if not is_below(real, self.roots):
                self._skip(entry, "a link that leads outside the allowed roots")
                return None
            status = os.stat(real)  # noqa: PTH116 (strings: one call a file)
        except OSError as error:
            self._skip(entry, f"a link that leads to no file ({cause(error)})")
            return None
        return _Entry(entry.name, entry.path, real, status.st_mode, status.st_size, is_link=True)

    def _file(self, entry: _Entry) -> Iterator[Found]:
        if stat.S_ISREG(entry.mode):
            yield Found(entry.path, entry.real, entry.bytes, entry.is_link)
        else:
            self._skip(entry, kind_of(entry.mode))

    def _skip(self, entry: _Entry, reason: str) -> None:
        self.skip(entry.path, entry.real, reason)


def has_wildcard(text: str) -> bool:
    """Whether a path is to be read as a pattern where no file has just that name."""
    return _MAGIC.search(text) is not None


def _join(directory: str, name: str) -> str:
    return f"{directory}{name}" if directory.endswith("/") else f"{directory}/{name}"
