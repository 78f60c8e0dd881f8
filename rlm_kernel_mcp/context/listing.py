"""Lists the files in a directory or that match a glob, below the allowed roots.

Is: walking directories without leaving the roots, without following links in circles, and with a bounded number
of entries; what is left out on the way is reported with its kind. Is not: the content of the files (`reading.py`), or
their names and order (`sources.py`). Above: `sources.py`. Below: `patterns/`, `ignoring.py`, `roots/`.
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
    RuleFiles,
    why_no_rules,
)
from rlm_kernel_mcp.context.patterns.globs import Glob, State
from rlm_kernel_mcp.context.patterns.ignore_rules import TooManyRulesError
from rlm_kernel_mcp.context.patterns.left_out import VENDORED_MARKS, Kind, is_vendored
from rlm_kernel_mcp.context.roots.open_roots import Allowed
from rlm_kernel_mcp.context.roots.opening import open_below, resolved
from rlm_kernel_mcp.context.roots.path_errors import cause, kind_of, outside
from rlm_kernel_mcp.context.roots.pseudo_files import is_on_pseudo_filesystem
from rlm_kernel_mcp.errors import ContextDenied, ContextTooLarge

ENTRY_LIMIT: Final = 2_000_000
"""Most directory entries that one request looks at."""

_NEVER: Final = frozenset({"excluded", "special"})
"""Kinds that stay left out even if a part of a pattern names them."""
_REASONS: Final[dict[str, str]] = {"special": "a pseudo-file of the operating system"}
"""Reasons for kinds that do not speak for themselves."""

Skip = Callable[[str, Kind, str], None]
"""Called with each entry that is left out: its path as it was reached, its kind, and a reason if that says more."""


class Entry(NamedTuple):
    """An entry of a directory. `path` is as it was reached; in `real` all links but the entry itself are resolved."""

    name: str
    path: str
    real: str
    mode: int
    is_directory: bool
    bytes: int
    device: int
    is_link: bool = False
    """Whether it was reached by a link; the other fields then describe the link's target."""


class _Directory(NamedTuple):
    """A directory still to be listed. `rules` are those of the directories above it."""

    real: str
    path: str
    rules: DirectoryRules
    is_named: bool = False
    """By the caller, or by a part of a pattern: it is listed even if it is vendored."""
    state: State = frozenset()
    """The state of the glob in it."""


class _Listing(NamedTuple):
    entries: list[Entry]
    names: frozenset[str]
    rules: DirectoryRules


_EMPTY: Final = _Listing([], frozenset(), DirectoryRules())


@dataclass(slots=True)
class Lister:
    """Lists directories for one request."""

    roots: Allowed
    exclusions: Exclusions
    skip: Skip
    check_cancelled: Callable[[], None]
    """Called for each entry; raises once nobody is waiting for the list any more."""
    seen_entries: int = field(default=0, init=False)
    _excludes: bool = field(init=False)
    _rule_files: RuleFiles = field(init=False)

    def __post_init__(self) -> None:
        self._excludes = bool(self.exclusions)
        self._rule_files = RuleFiles(self.roots)

    def directory(self, real: str, path: str) -> Iterator[Entry]:
        """All files below a directory, at any depth, except those that are left out, as links to directories are.

        Raises:
            ContextDenied, OSError: the directory itself cannot be read; an unreadable one below it is skipped.
        """
        waiting = [_Directory(real, path, self._rule_files.above(real), is_named=True)]
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
        """All files that match an absolute pattern; what does not match is not reported.

        What directories leave out is loaded if a part of the pattern names it; `*` and `**` leave it out too.
        A link to a directory is followed if a part matches it, but not by `**`.

        Raises:
            ContextDenied, OSError: the directory before the first wildcard lies outside the roots, or cannot be read.
        """
        start = resolved(glob.base)
        if not self.roots.has(start):
            raise outside(given, self.roots.paths, lost=self.roots.lost)
        waiting = [_Directory(start, glob.base, self._rule_files.above(start), is_named=True, state=glob.start)]
        visited = set()
        while waiting:
            directory = waiting.pop()
            # A link may lead back up; the same directory in the same state of the pattern gives the same files.
            if (directory.real, directory.state) in visited:
                continue
            visited.add((directory.real, directory.state))
            listing = self._listing(directory, start=glob.base)
            for entry in listing.entries:
                yield from self._matched(entry, listing, glob, directory.state, waiting)

    def _matched(
        self, entry: Entry, listing: _Listing, glob: Glob, state: State, waiting: list[_Directory]
    ) -> Iterator[Entry]:
        """Match an entry against a glob: yield it if it is a file, queue it if it is a directory."""
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
                rules = self._rule_files.above(target.real)
                waiting.append(_Directory(target.real, entry.path, rules, is_named, by_part))

    def _why(self, entry: Entry, listing: _Listing, base: str) -> Kind | None:
        """Why an entry that nothing names is left out; None if it is not."""
        is_directory = entry.is_directory
        if is_directory and is_on_pseudo_filesystem(entry.device):
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
                # By descriptor: what was checked is what is listed, even if the path is swapped meanwhile.
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
                self.skip(path, "unreadable", "replaced while it was being opened")
            return _EMPTY

    def _rules(self, directory: _Directory, names: frozenset[str], descriptor: int) -> DirectoryRules:
        rules = DirectoryRules() if REPOSITORY_NAME in names else directory.rules
        if RULES_NAME not in names:
            return rules
        try:
            return rules.with_own(self._rule_files.own(descriptor))
        except (OSError, TooManyRulesError) as error:
            self.skip(_inside(directory.path) + RULES_NAME, "unreadable", why_no_rules(error))
            return rules

    def _entry(self, entry: os.DirEntry[str], real_start: str, path_start: str) -> Entry | None:
        self.check_cancelled()
        self.seen_entries += 1
        if self.seen_entries > ENTRY_LIMIT:
            raise ContextTooLarge(
                f"context_paths cover more than {ENTRY_LIMIT:,} directory entries, which is the limit of one request.",
                "Name a narrower directory or pattern, or leave directories out with exclude.",
            )
        name = entry.name
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:  # this entry alone: it was removed while the directory was listed
            self.skip(path_start + name, "unreadable", cause(error))
            return None
        mode = status.st_mode
        is_directory = stat.S_ISDIR(mode)
        return Entry(name, path_start + name, real_start + name, mode, is_directory, status.st_size, status.st_dev)

    def _target(self, entry: Entry) -> Entry | None:
        """The target of a link, under the link's own path; an entry that is not a link is its own target."""
        if not stat.S_ISLNK(entry.mode):
            return entry
        try:
            real = resolved(entry.real)
            if not self.roots.has(real):
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
        elif is_on_pseudo_filesystem(entry.device):
            self.skip(entry.path, "special", _REASONS["special"])
        else:
            yield entry


def _inside(directory: str) -> str:
    """What the paths of its entries begin with."""
    return directory if directory.endswith("/") else directory + "/"
