"""What directories and globs leave out: the kinds, their counts, and which names are vendored.

Is: the account that the reply gives of it, and the short list of directories that contain copies. Is not: .gitignore
and `exclude` (`ignoring.py`), or what counts as binary (`text_encoding.py`). A file or directory that is named itself
is loaded, whatever is said here (docs/decisions/0076). Above: `listing.py`, `sources.py`, `reading.py`. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

Kind = Literal["hidden", "vendored", "ignored", "excluded", "binary", "archive", "link", "special", "unreadable"]
"""Why an entry was left out, in one word. A directory counts once, with everything in it."""

VENDORED: Final = frozenset({"node_modules", "bower_components", "__pycache__", "site-packages"})
"""Directories of copies that a tool makes, with names that mean nothing else."""

VENDORED_BESIDE: Final = {
    "vendor": frozenset({"go.mod", "composer.json", "Gemfile", "Cargo.toml", "package.json"}),
    "target": frozenset({"Cargo.toml", "pom.xml", "build.sbt"}),
}
"""Everyday words: directories with these names are copies or build products if one of these files is next to them."""

VENDORED_MARKS: Final = frozenset({"pyvenv.cfg", "CACHEDIR.TAG"})
"""Files by which a Python virtual environment and a cache (bford.info/cachedir) mark their own directory."""

REASONS_KEPT: Final = 20
NAME_CHARS: Final = 200
"""How much of a long name is shown."""


def is_vendored(name: str, siblings: Collection[str]) -> bool:
    """Whether a directory with this name, next to these entries, contains copies instead of its project's own text."""
    if name in VENDORED:
        return True
    beside = VENDORED_BESIDE.get(name)
    return beside is not None and not beside.isdisjoint(siblings)


@dataclass(slots=True)
class Skipped:
    """Entries that were left out: how many of each kind, and the first 20 with their reasons."""

    counts: dict[Kind, int] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)
    examples: dict[Kind, str] = field(default_factory=dict)
    """The first of each kind."""
    last: str = ""

    @property
    def count(self) -> int:
        """How many there are altogether."""
        return sum(self.counts.values())

    def add(self, name: str, kind: Kind, reason: str = "") -> None:
        """Count an entry. Without a reason, its kind is the reason."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.last = f"{name if len(name) <= NAME_CHARS else name[:NAME_CHARS] + '…'}: {reason or kind}"
        self.examples.setdefault(kind, self.last)
        if len(self.first) < REASONS_KEPT:
            self.first.append(self.last)

    def copy(self) -> Self:
        """An independent copy."""
        return replace(self, counts=dict(self.counts), first=list(self.first), examples=dict(self.examples))
