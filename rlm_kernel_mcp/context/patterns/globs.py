"""Patterns for files: which entries of a directory a glob matches, and where inside it goes on. Sans-I/O.

Is: `*`, `?`, `[...]` within a name and `**` over any number of directories. Is not: walking (`listing.py`).
Above: `listing.py`, `sources.py`. Below: nothing.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Final, NamedTuple

from rlm_kernel_mcp.errors import InvalidInput

_MAGIC: Final = re.compile(r"[*?\[]")
_ANY_DEPTH: Final = "**"

State = frozenset[int]
"""The parts of a pattern that the next entry's name may match."""


def has_wildcard(text: str) -> bool:
    """Whether a path is to be read as a pattern where no file has just that name."""
    return _MAGIC.search(text) is not None


class Step(NamedTuple):
    """What an entry's name means to a pattern. The states are where it goes on inside, if the entry is a directory."""

    is_match: bool
    is_named: bool
    """It is a match, and by more than a bare `*` or `**`."""
    named: State
    """By a part that says more than `*`, and its dot where the name has one."""
    by_star: State
    by_depth: State

    def only_named(self) -> Step:
        """What is left of it for an entry that is loaded only where it is named."""
        return Step(self.is_named, self.is_named, self.named, frozenset(), frozenset())


class Glob:
    """An absolute pattern: the directory before the first wildcard, and the parts that are matched below it.

    A state is a set of parts, so that one visit of a directory is enough however many `**` the pattern has.
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
        self._says_more = [bool(part.strip("*")) for part in wild]
        self._shows_hidden = [part.startswith(".") for part in wild]
        self.start = self._with_depth({0})

    def step(self, state: State, name: str) -> Step:
        """Match an entry's name. That it is hidden makes no difference here but to what counts as named."""
        named: set[int] = set()
        by_star: set[int] = set()
        by_depth: set[int] = set()
        is_hidden = name.startswith(".")
        for at in state:
            test = self._tests[at]
            if test is None:
                by_depth.add(at)
            elif test(name):
                is_named = self._shows_hidden[at] if is_hidden else self._says_more[at]
                (named if is_named else by_star).add(at + 1)
        end = len(self._tests)
        is_match = end in named or end in by_star or end - 1 in by_depth
        states = (self._with_depth(one - {end}) if one else frozenset() for one in (named, by_star, by_depth))
        return Step(is_match, end in named, *states)

    def _with_depth(self, state: set[int]) -> State:
        # `**` may match no directory at all, so the part after it may come at once.
        last = len(self._tests) - 1
        return frozenset(state | {at + 1 for at in state if self._tests[at] is None and at < last})
