"""What lies in a directory or matches a glob, below the allowed roots.

Is: walking directories without leaving the roots, without following links in circles, and with a bounded number
of entries; what is left out on the way is told with its kind. Is not: what the files hold (`payload.py`), nor their
names and order (`sources.py`). Above: `sources.py`. Below: `globs.py`, `ignoring.py`, `left_out.py`, `paths.py`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from rlm_kernel_mcp.context.ignoring import (
    REPOSITORY_NAME,
    RULES_NAME,
    DirectoryRules,
    Exclusions,
    rules_above,
    rules_in,
    why_no_rules,
)
from rlm_kernel_mcp.context.paths import cause, is_below, is_kernels, kind_of, open_below, outside, resolved
from rlm_kernel_mcp.context.patterns.globs import Glob, State
from rlm_kernel_mcp.context.patterns.ignore_rules import TooManyRulesError
from rlm_kernel_mcp.context.patterns.left_out import VENDORED_MARKS, Kind, is_vendored
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge

ENTRY_LIMIT: Final = 2_000_000
"""Directory entries that one request looks at."""

_NEVER: Final = frozenset({"excluded", "special"})
"""What no part of a pattern brings back by naming it."""
_REASONS: Final[dict[str, str]] = {"special": "made up by the operating system"}
"""Where the kind alone does not say it."""

Skip = Callable[[str, Kind, str], None]
"""Told of each entry that is left out: its path as it was reached, the kind, and the reason if that says more."""


class Entry(NamedTuple):
    """What was found in a directory. `path` is as it was reached, `real` with all links resolved but for itself."""

    name: str
    path: str
    real: str
    mode: int
    is_directory: bool
    bytes: int
    device: int
    is_link: bool = False
    """Whether it was reached by a link; the rest is then of what that leads to."""


class _Directory(NamedTuple):
    """A directory that is still to be listed. `rules` are those of the directories above it."""

    real: str
    path: str
    rules: DirectoryRules
    is_named: bool = False
    """By the caller, or by a part of a pattern: it is listed though it be vendored."""
    state: State = frozenset()
    """Of a glob."""


class _Listing(NamedTuple):
    entries: list[Entry]
    names: frozenset[str]
    rules: DirectoryRules


_EMPTY: Final = _Listing([], frozenset(), DirectoryRules())


@dataclass(slots=True)
class Lister:
    """Lists directories for one request."""

    roots: tuple[str, ...]
    exclusions: Exclusions
    skip: Skip
    go_on: Callable[[], None]
    """Asked at each entry; raises where nobody waits for the list any more."""
    seen_entries: int = field(default=0, init=False)
    _excludes: bool = field(init=False)

    def __post_init__(self) -> None:
        self._excludes = bool(self.exclusions)

    def directory(self, real: str, path: str) -> Iterator[Entry]:
        """All files below a directory, at any depth, but for what is left out; links to directories are.

        Raises:
            ContextDenied, OSError: the directory itself cannot be read; one below it is skipped.
        """
        waiting = [_Directory(real, path, rules_above(real, self.roots), is_named=True)]
        while waiting:
            directory = waiting.pop()
            listing = self._listing(directory, start=path)
            for entry in listing.entries:
                if why := self._why(entry, listing, path):
                    self.skip(entry.path, why, _REASONS.get(why, ""))
                elif entry.is_directory:
                    waiting.append(_Directory(entry.real, entry.path, listing.rules.inside(entry.name)))
                elif stat.S_ISREG(entry.mode):
                    yield entry
                elif target := self._target(entry):
                    if target.is_directory:
                        self.skip(entry.path, "link", "a link to a directory; name it itself to load it")
                    else:
                        yield from self._file(target)

    def glob(self, glob: Glob, given: str) -> Iterator[Entry]:
        """All files that match an absolute pattern; what does not match is not mentioned.

        What directories leave out is taken where a part of the pattern names it; by `*` and `**` it is left out too.
        A link to a directory is entered where a part matches it, not by `**`.

        Raises:
            ContextDenied, OSError: the directory before the first wildcard lies outside the roots, or cannot be read.
        """
        start = resolved(glob.base)
        if not is_below(start, self.roots):
            raise outside(given, self.roots)
        waiting = [_Directory(start, glob.base, rules_above(start, self.roots), is_named=True, state=glob.start)]
        visited = set()
        while waiting:
            directory = waiting.pop()
            if (directory.real, directory.state) in visited:
                continue
            visited.add((directory.real, directory.state))
            listing = self._listing(directory, start=glob.base)
            for entry in listing.entries:
                yield from self._matched(entry, listing, glob, directory.state, waiting)

    def _matched(
        self, entry: Entry, listing: _Listing, glob: Glob, state: State, waiting: list[_Directory]
    ) -> Iterator[Entry]:
        """An entry as a glob takes it: a file, or a directory that waits."""
        step = glob.step(state, entry.name)
        if not (step.is_match or step.named or step.by_star or (entry.is_directory and step.by_depth)):
            return
        if why := self._why(entry, listing, glob.base):
            if entry.is_directory and not (step.named or step.by_star or step.by_depth):
                return
            step = step.only_named()
            if why in _NEVER or not (step.is_match or step.named):
                self.skip(entry.path, why, _REASONS.get(why, ""))
                return
        by_part = step.named | step.by_star
        is_named = bool(step.named)
        if entry.is_directory:
            if inside := by_part | step.by_depth:
                rules = DirectoryRules() if why else listing.rules.inside(entry.name)
                waiting.append(_Directory(entry.real, entry.path, rules, is_named, inside))
        elif (step.is_match or by_part) and (target := self._target(entry)):
            if not target.is_directory:
                yield from self._file(target) if step.is_match else ()
            elif by_part:
                waiting.append(
                    _Directory(target.real, entry.path, rules_above(target.real, self.roots), is_named, by_part)
                )

    def _why(self, entry: Entry, listing: _Listing, base: str) -> Kind | None:
        """Why an entry is left out where nothing names it; None if it is not."""
        is_directory = entry.is_directory
        if is_directory and is_kernels(entry.device):
            return "special"
        if self._excludes and self.exclusions.exclude(entry.path, base, is_directory=is_directory):
            return "excluded"
        if entry.name.startswith("."):
            return "hidden"
        if is_directory and is_vendored(entry.name, listing.names):
            return "vendored"
        if listing.rules.levels and listing.rules.ignores(entry.name, is_directory=is_directory):
            return "ignored"
        return None

    def _listing(self, directory: _Directory, *, start: str) -> _Listing:
        real, path = directory.real, directory.path
        try:
            descriptor = open_below(real, path, self.roots, directory=True)
            try:
                starts = (_inside(real), _inside(path))
                with os.scandir(descriptor) as found:
                    entries = [entry for one in found if (entry := self._entry(one, *starts))]
                names = frozenset([entry.name for entry in entries])
                if not (directory.is_named or VENDORED_MARKS.isdisjoint(names)):
                    self.skip(path, "vendored", "")
                    return _EMPTY
                return _Listing(entries, names, self._rules(directory, names, descriptor))
            finally:
                os.close(descriptor)
        except (ContextDenied, OSError) as error:
            if path == start:
                raise
            if isinstance(error, OSError):
                self.skip(path, "unreadable", cause(error))
            else:
                self.skip(path, "unreadable", "replaced while it was opened")
            return _EMPTY

    def _rules(self, directory: _Directory, names: frozenset[str], descriptor: int) -> DirectoryRules:
        rules = DirectoryRules() if REPOSITORY_NAME in names else directory.rules
        if RULES_NAME not in names:
            return rules
        try:
            return rules.with_own(rules_in(descriptor))
        except (OSError, TooManyRulesError) as error:
            self.skip(_inside(directory.path) + RULES_NAME, "unreadable", why_no_rules(error))
            return rules

    def _entry(self, entry: os.DirEntry[str], real_start: str, path_start: str) -> Entry | None:
        self.go_on()
        self.seen_entries += 1
        if self.seen_entries > ENTRY_LIMIT:
            raise ContextTooLarge(
                f"context_paths reach more than {ENTRY_LIMIT:,} directory entries.",
                "Name a narrower directory or pattern, or leave directories out by exclude.",
            )
        name = entry.name
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:  # this entry alone: it went while the directory was listed
            self.skip(path_start + name, "unreadable", cause(error))
            return None
        mode = status.st_mode
        is_directory = stat.S_ISDIR(mode)
        return Entry(name, path_start + name, real_start + name, mode, is_directory, status.st_size, status.st_dev)

    def _target(self, entry: Entry) -> Entry | None:
        """What a link leads to, under the link's own path; an entry that is not a link is its own target."""
        if not stat.S_ISLNK(entry.mode):
            return entry
        try:
            real = resolved(entry.real)
            if not is_below(real, self.roots):
                self.skip(entry.path, "link", "a link that leads outside the allowed roots")
                return None
            status = os.stat(real)  # noqa: PTH116 (strings: one call a file)
        except OSError as error:
            self.skip(entry.path, "link", f"a link that leads to no file ({cause(error)})")
            return None
        mode = status.st_mode
        return Entry(
            entry.name, entry.path, real, mode, stat.S_ISDIR(mode), status.st_size, status.st_dev, is_link=True
        )

    def _file(self, entry: Entry) -> Iterator[Entry]:
        if not stat.S_ISREG(entry.mode):
            self.skip(entry.path, "special", kind_of(entry.mode))
        elif is_kernels(entry.device):
            self.skip(entry.path, "special", _REASONS["special"])
        else:
            yield entry


def _inside(directory: str) -> str:
    """How the paths of what it holds begin."""
    return directory if directory.endswith("/") else directory + "/"
