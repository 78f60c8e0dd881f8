"""What directories and patterns leave out: the kinds, their counts, and which names are vendored.

Is: the account that the reply gives of it, and the short list of directories that hold copies. Is not: .gitignore and
`exclude` (`ignoring.py`), nor what counts as binary (`text_encoding.py`). A file or directory that is named itself is
loaded, whatever stands here (docs/decisions/0076). Above: `listing.py`, `sources.py`, `reading.py`. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Self

Kind = Literal["hidden", "vendored", "ignored", "excluded", "binary", "archive", "link", "special", "unreadable"]
"""Why an entry was left out, in one word; a directory counts once, with all that is in it."""

VENDORED: Final = frozenset({"node_modules", "bower_components", "__pycache__", "site-packages"})
"""Directories of copies that a tool makes, by names that mean nothing else."""

VENDORED_BESIDE: Final = {
    "vendor": frozenset({"go.mod", "composer.json", "Gemfile", "Cargo.toml", "package.json"}),
    "target": frozenset({"Cargo.toml", "pom.xml", "build.sbt"}),
}
"""Everyday words, which are copies or products where one of these files stands beside them."""

VENDORED_MARKS: Final = frozenset({"pyvenv.cfg", "CACHEDIR.TAG"})
"""What a virtual environment of Python and a cache (bford.info/cachedir) lay into their own directory."""

REASONS_KEPT: Final = 20
NAME_CHARS: Final = 200
"""How much of a long name is shown."""


def is_vendored(name: str, siblings: Collection[str]) -> bool:
    """Whether a directory of this name, beside entries of these, holds copies that are not its project's own text."""
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
        """How many in all."""
        return sum(self.counts.values())

    def add(self, name: str, kind: Kind, reason: str = "") -> None:
        """Count an entry; the reason is its kind where that says all."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.last = f"{name if len(name) <= NAME_CHARS else name[:NAME_CHARS] + '…'}: {reason or kind}"
        self.examples.setdefault(kind, self.last)
        if len(self.first) < REASONS_KEPT:
            self.first.append(self.last)

    def copy(self) -> Self:
        """One that can be added to without a change to this one."""
        return replace(self, counts=dict(self.counts), first=list(self.first), examples=dict(self.examples))
