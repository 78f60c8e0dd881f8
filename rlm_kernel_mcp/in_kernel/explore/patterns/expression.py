r"""What is known about a pattern before any search: its form for RE2, and how much of a text it has to see.

Is: a pattern as Python's `re` parses it, with `^` and `$` at each line (as in grep); or, if `re` cannot parse it
(`\pL`, `[[:alpha:]]`), as RE2 does. Is not: a search (`explore/matching/`). Above: `explore/matching/`.
Below: `translation.py`, the parser of `re`, RE2.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from functools import cached_property
from re import _constants as sre  # type: ignore[attr-defined]  # as in `translation.py`
from re import _parser  # type: ignore[attr-defined]
from typing import Any, Final

import re2

from rlm_kernel_mcp.in_kernel.explore.patterns.translation import NotRe2, Translation, Tree, takes_line_end

RE2_BYTES: Final = 64 << 20
"""Memory that RE2 may use for one pattern and its states."""
LITERAL_CHARS: Final = 2
"""Shortest string in every match that is worth looking for first."""
# Characters that are frequent in English text, code and logs.
_EVERYWHERE: Final = frozenset("etaoinsrhldcu 0123456789.-:/=,\n")
_PLACES: Final = (sre.AT_BEGINNING_STRING, sre.AT_END_STRING)


class BadPattern(ValueError):
    """Neither `re` nor RE2 can parse the pattern."""


class Expression:
    """One pattern.

    Args:
        source: the pattern.
        ignore_case: as with `(?i)`.

    Raises:
        BadPattern.
    """

    def __init__(self, source: str, *, ignore_case: bool = False) -> None:
        self.source = source
        flags = re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
        self.python: re.Pattern[str] | None = None
        """None: only RE2 can parse it."""
        self._tree: Any = None
        self._ignore_case = ignore_case
        try:
            # `re` reads `[[:alpha:]]` as a set of these letters, which is never what was meant.
            if "[:" in source:
                raise re.error("a class by name is RE2's")
            with warnings.catch_warnings():
                # `re` warns about `[[` and the like, which is nothing to a step.
                warnings.simplefilter("ignore")
                self.python = re.compile(source, flags)
                self._tree = _parser.parse(source, flags)
        except (re.error, RecursionError, OverflowError) as error:
            try:
                self.re2(is_ascii=True)
            except NotRe2:
                raise BadPattern(f"the pattern cannot be read: {error}") from None

    @cached_property
    def widths(self) -> tuple[int, int | None]:
        """Characters of the shortest match and of the longest; None for the longest if there is no bound."""
        if self._tree is None:
            return 0, None
        least, most = self._tree.getwidth()
        return int(least), None if int(most) >= int(sre.MAXREPEAT) else int(most)

    @cached_property
    def crosses(self) -> bool:
        """Whether a match may contain a line end, or depend on what is behind one."""
        return self._tree is None or any(takes_line_end(*part) for part in _parts(self._tree, self._tree.state.flags))

    @cached_property
    def is_anchored(self) -> bool:
        r"""Whether it depends on where the document begins or ends (`\A`, `\Z`)."""
        if self._tree is None:
            return True
        parts = _parts(self._tree, self._tree.state.flags)
        return any(
            op is sre.AT
            and (value in _PLACES or (not flags & re.MULTILINE and value in (sre.AT_BEGINNING, sre.AT_END)))
            for op, value, flags in parts
        )

    @cached_property
    def literal(self) -> str:
        """The longest string that every match contains; empty if there is none worth using."""
        if self._tree is None:
            return ""
        runs, last = _runs(self._tree, self._tree.state.flags, "")
        found = max(*runs, last, "", key=_rarity)
        return found if len(found) >= LITERAL_CHARS else ""

    @cached_property
    def begins_with(self) -> bool:
        """Whether every match begins with the same character: RE2 then skips to it by itself."""
        if self._tree is None or not len(self._tree):
            return False
        op, _ = self._tree[0]
        return bool(op is sre.LITERAL) and not self._tree.state.flags & re.IGNORECASE

    @cached_property
    def any_case(self) -> bytes:
        """The string in lower case, if the pattern is a string of ASCII in any case; else empty."""
        if self._tree is None or not self._tree.state.flags & re.IGNORECASE:
            return b""
        points = [value if op is sre.LITERAL else sys.maxunicode for op, value in self._tree]
        return bytes(points).lower() if max(points, default=128) < 128 else b""

    @cached_property
    def run(self) -> bytes:
        r"""The ASCII characters of a class, if the pattern is that class once or more, and then `literal`.

        Empty for any other, and where the class has the literal's first character, or the literal has it twice: of
        `[a-z_]+\(x` a match is what stands before a literal as far as the class goes, whatever the text.
        """
        if self._tree is None or self._tree.state.flags & re.IGNORECASE or not self.literal:
            return b""
        (op, value), *rest = self._tree
        literal, begin = self.literal, self.literal[0]
        if op is not sre.MAX_REPEAT or value[:2] != (1, sre.MAXREPEAT) or [one for one, _ in value[2]] != [sre.IN]:
            return b""
        if rest != [(sre.LITERAL, ord(one)) for one in literal] or begin in literal[1:]:
            return b""
        assert self.python is not None
        found = bytes(point for point in range(128) if self.python.fullmatch(chr(point) + literal))
        return b"" if self.python.fullmatch(begin + literal) else found

    def re2(self, *, is_ascii: bool, loose: bool = False, groups: bool = False) -> Any:
        """RE2's pattern over the UTF-8 of a text.

        Args:
            is_ascii: whether the text is.
            loose: one that matches wherever this does, and possibly elsewhere.
            groups: whether captures are wanted, which costs time.

        Raises:
            NotRe2: it has nothing for a part of it, or it would need too much memory.
        """
        text = f"(?m{'i' if self._ignore_case else ''}){self.source}"
        if self._tree is not None:
            trees = {value[0]: value[3] for op, value, _ in _parts(self._tree, 0) if op is sre.SUBPATTERN}
            text = Translation(trees, is_ascii=is_ascii, loose=loose).write(self._tree, self._tree.state.flags)
        options = re2.Options()
        options.max_mem, options.log_errors, options.never_capture = RE2_BYTES, False, not groups
        try:
            return re2.compile(text.encode("utf-8", "surrogatepass"), options)
        except re2.error as error:
            said = error.args[0] if error.args else error
            raise NotRe2(said.decode(errors="replace") if isinstance(said, bytes) else str(said)) from None


def _inner(op: Any, value: Any, flags: int) -> Iterator[tuple[Tree, int]]:
    """The subtrees of one part, each with its flags."""
    match op:
        case sre.BRANCH:
            yield from ((branch, flags) for branch in value[1])
        case sre.SUBPATTERN:
            yield value[3], flags & ~value[2] | value[1]
        case sre.MAX_REPEAT | sre.MIN_REPEAT | sre.POSSESSIVE_REPEAT:
            yield value[2], flags
        case sre.ASSERT | sre.ASSERT_NOT:
            yield value[1], flags
        case sre.ATOMIC_GROUP:
            yield value, flags
        case sre.GROUPREF_EXISTS:
            yield from ((tree, flags) for tree in value[1:] if tree is not None)


def _parts(tree: Tree, flags: int) -> Iterator[tuple[Any, Any, int]]:
    """Every part of a tree and of its subtrees."""
    for op, value in tree:
        yield op, value, flags
        for inner, inner_flags in _inner(op, value, flags):
            yield from _parts(inner, inner_flags)


def _runs(tree: Tree, flags: int, run: str) -> tuple[list[str], str]:
    """Strings that every match contains, and the one that the next part may continue.

    `run`: the string right before this tree.
    """
    found: list[str] = []
    for op, value in tree:
        if op is sre.LITERAL and not flags & re.IGNORECASE:
            run += chr(value)
        elif op in (sre.SUBPATTERN, sre.ATOMIC_GROUP):
            for inner, inner_flags in _inner(op, value, flags):
                more, run = _runs(inner, inner_flags, run)
                found += more
        elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT) and value[0] >= 1:
            more, first = _runs(value[2], flags, run)
            # What follows is next to the last repetition, which may differ from the first.
            last, run = _runs(value[2], flags, "")
            found += [*more, first, *last]
        elif op not in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):  # those consume no character
            found.append(run)
            run = ""
    return found, run


def _rarity(run: str) -> tuple[int, int]:
    """Longer is rarer; of equal lengths, the one with fewer frequent characters."""
    return len(run), sum(one not in _EVERYWHERE for one in run)
