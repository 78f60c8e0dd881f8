"""Glob patterns: which entries of a directory match, and which subdirectories have to be searched. Sans-I/O.

Is: `*`, `?`, `[...]` within a name, `**` over any number of directories, and `{a,b}` for either. Is not: walking
(`listing.py`). Above: `listing.py`, `sources.py`. Below: nothing.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from rlm_kernel_mcp.errors import InvalidInput

_MAGIC: Final = re.compile(r"[*?\[]|\{[^{}]*,[^{}]*\}")
_BRACES: Final = re.compile(r"\{([^{}]*,[^{}]*)\}")
"""The innermost ones. As in a shell they come before everything else, and without a comma they mean themselves."""
ALTERNATIVES_MAX: Final = 100
"""Most patterns that one with braces may stand for."""
_ANY_DEPTH: Final = "**"

_Test = Callable[[str], object] | None
_NEVER: Final = re.compile("(?!)").match

State = frozenset[int]
"""The parts of a pattern that the next entry's name may match."""


def has_wildcard(text: str) -> bool:
    """Whether a path is to be taken as a pattern if no file has that very name."""
    return _MAGIC.search(text) is not None


def alternatives(pattern: str) -> list[str]:
    """The patterns that one with braces stands for; one without stands for itself.

    Raises:
        InvalidInput: there are more than 100.
    """
    found, waiting = list[str](), [pattern]
    while waiting:
        one = waiting.pop()
        braces = _BRACES.search(one)
        if braces is None:
            found.append(one)
        else:
            before, behind = one[: braces.start()], one[braces.end() :]
            waiting += [before + choice + behind for choice in reversed(braces[1].split(","))]
        if len(found) + len(waiting) > ALTERNATIVES_MAX:
            raise InvalidInput(f"A pattern with braces stands for more than {ALTERNATIVES_MAX} patterns; give several.")
    return list(dict.fromkeys(found))


class Step(NamedTuple):
    """How an entry's name matches a pattern. If the entry is a directory, the pattern goes on in it in these states."""

    is_match: bool
    is_named: bool
    """Whether it matches, and by more than a bare `*` or `**`."""
    named: State
    """Reached by a part that is more specific than `*`, including the dot of a hidden name."""
    by_star: State
    by_depth: State

    def only_named(self) -> Step:
        """What is left of it for an entry that is loaded only if it is named."""
        return Step(self.is_named, self.is_named, self.named, frozenset(), frozenset())


class Glob:
    """An absolute pattern: the directory before the first wildcard, and the parts that are matched below it.

    A state is a set of parts, so that one visit to a directory is enough, however many `**` the pattern has, and
    however many patterns its braces stand for.
    """

    def __init__(self, pattern: str) -> None:
        begins = re.search(r"[*?\[{]" if _BRACES.search(pattern) else r"[*?\[]", pattern)
        assert begins is not None
        base, _, _ = pattern[: begins.start()].rpartition("/")
        self.base = "/" + "/".join(_parts(base))
        self._tests: list[_Test] = []
        self._says_more: list[bool] = []
        self._shows_hidden: list[bool] = []
        self._ends: set[int] = set()
        """Behind the last part of each pattern."""
        begin: set[int] = set()
        for one in alternatives(pattern[len(base) :]):
            if parts := _parts(one):
                begin.add(len(self._tests))
                self._add(parts)
        self.start = self._with_depth(begin)

    def _add(self, parts: list[str]) -> None:
        if ".." in parts:
            raise InvalidInput("A pattern has '..' after a wildcard; put the '..' before the first wildcard.")
        for part, before in zip(parts, ["", *parts], strict=False):
            if (part, before) != (_ANY_DEPTH,) * 2:
                self._tests.append(None if part == _ANY_DEPTH else re.compile(fnmatch.translate(part)).match)
                self._says_more.append(bool(part.strip("*")))
                self._shows_hidden.append(part.startswith("."))
        self._ends.add(len(self._tests))
        self._tests.append(_NEVER)
        self._says_more.append(False)
        self._shows_hidden.append(False)

    def step(self, state: State, name: str) -> Step:
        """Match an entry's name. Whether that is hidden only makes a difference to what counts as named."""
        named: set[int] = set()
        by_star: set[int] = set()
        by_depth: set[int] = set()
        is_hidden = name.startswith(".")
        for at in state:
            test = self._tests[at]
            if test is None:
                by_depth.add(at)
            elif test(name):
                says_more = self._shows_hidden[at] if is_hidden else self._says_more[at]
                (named if says_more else by_star).add(at + 1)
        ends = self._ends
        is_named = not ends.isdisjoint(named)
        is_match = is_named or not ends.isdisjoint(by_star) or any(at + 1 in ends for at in by_depth)
        states = (self._with_depth(one - ends) if one else frozenset() for one in (named, by_star, by_depth))
        return Step(is_match, is_named, *states)

    def _with_depth(self, state: set[int]) -> State:
        # `**` may match no directory at all, so the part after it may match at once.
        return frozenset(state | {at + 1 for at in state if self._tests[at] is None and at + 1 not in self._ends})


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
