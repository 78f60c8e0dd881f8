r"""Writes a regular expression of Python's `re` for RE2.

Is: RE2's text for what `re` has parsed, so that both match the same. Is not: a search, nor a check that they do:
tests compare them. Above: `expression.py`. Below: `classes.py`, the parser of `re`, which is private
to it ([decision 0096](docs/decisions/0096-re-defines-what-a-pattern-means.md)).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from re import _constants as sre  # type: ignore[attr-defined]  # private, and the same from 3.11 to 3.14
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.explore.patterns.classes import LAST, category, char, same_letters, span

REPEATS_MAX: Final = 1_000
"""RE2's limit for n in `{n}`."""
_LOOKS: Final = {
    sre.ASSERT: "it looks around",
    sre.ASSERT_NOT: "it looks around",
    sre.GROUPREF: "it has a backreference",
}
_NOT_IN_RE2: Final = _LOOKS | {
    sre.GROUPREF_EXISTS: "it asks whether a group has matched",
    sre.ATOMIC_GROUP: "it has an atomic group",
    sre.POSSESSIVE_REPEAT: "it has a possessive repetition",
}
Tree = Sequence[tuple[Any, Any]]


class NotRe2(Exception):
    """RE2 lacks something that the pattern uses; the message says what."""


class Translation:
    r"""Writes one pattern. With `loose`, what RE2 lacks is left out: the result matches wherever the pattern does, and
    possibly elsewhere, so it only tells where to look.

    Args:
        groups: the trees of the pattern's groups by number, for `loose`.
        is_ascii: whether the text is: `\w` and its kin are then ASCII's, and `\b` RE2's own.
    """  # noqa: D205

    def __init__(self, groups: dict[int, Tree], *, is_ascii: bool, loose: bool) -> None:
        self._groups, self._is_ascii, self._loose = groups, is_ascii, loose

    def write(self, tree: Tree, flags: int) -> str:
        """RE2's text for a part of the pattern.

        Raises:
            NotRe2.
        """
        return "".join(self._one(op, value, flags) for op, value in tree)

    def _one(self, op: Any, value: Any, flags: int) -> str:  # noqa: PLR0911  (a table of cases)
        match op:
            case sre.LITERAL:
                return self._literal(value, flags)
            case sre.NOT_LITERAL:
                return f"[^{self._members([(sre.LITERAL, value)], flags)}]"
            case sre.ANY:
                return "(?s:.)" if flags & re.DOTALL else r"[^\n]"
            case sre.IN:
                return self._class(value, flags)
            case sre.BRANCH:
                return f"(?:{'|'.join(self.write(branch, flags) for branch in value[1])})"
            case sre.SUBPATTERN:
                number, added, taken, inner = value
                return f"({'?:' if number is None or self._loose else ''}{self.write(inner, flags & ~taken | added)})"
            case sre.MAX_REPEAT | sre.MIN_REPEAT:
                return self._repeat(value, flags, lazy=op is sre.MIN_REPEAT)
            case sre.AT:
                return self._place(value, flags)
        return self._not_in_re2(op, value, flags)

    def _literal(self, point: int, flags: int) -> str:
        if not flags & re.IGNORECASE:
            return char(point)
        found = self._members([(sre.LITERAL, point)], flags)
        return found if found == char(point) else f"[{found}]"

    def _class(self, items: Tree, flags: int) -> str:
        negated = items[0][0] is sre.NEGATE
        inside = self._members(items[1:] if negated else items, flags)
        return f"[{'^' if negated else ''}{inside}]"

    def _members(self, items: Tree, flags: int) -> str:
        is_ascii = self._is_ascii or bool(flags & re.ASCII)
        inside = []
        for op, value in items:
            if op is sre.CATEGORY:
                name = str(value).removeprefix("CATEGORY_").lower()
                # Without re.ASCII, `\s` also has `\x1c` to `\x1f`, even in an ASCII text.
                inside.append(category(name, is_ascii=bool(flags & re.ASCII) or (is_ascii and "space" not in name)))
                continue
            first, last = value if op is sre.RANGE else (value, value)
            ignores = flags & re.IGNORECASE
            inside.append(same_letters(first, last, is_ascii=is_ascii) if ignores else span(first, last))
        return "".join(inside)

    def _repeat(self, value: Any, flags: int, *, lazy: bool) -> str:
        least, most, inner = value
        least, most = int(least), None if most is sre.MAXREPEAT else int(most)
        if max(least, most or 0) > REPEATS_MAX:
            if not self._loose:
                raise NotRe2(f"it repeats something more than {REPEATS_MAX:,} times")
            least, most = min(least, REPEATS_MAX), None
        how = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
        how = how or (f"{{{least},}}" if most is None else f"{{{least},{most}}}")
        return f"(?:{self.write(inner, flags)}){how}{'?' if lazy else ''}"

    def _place(self, place: Any, flags: int) -> str:
        many = bool(flags & re.MULTILINE)
        match place:
            # The flag is written into each: it may differ from group to group.
            case sre.AT_BEGINNING:
                return "(?m:^)" if many else r"\A"
            case sre.AT_BEGINNING_STRING:
                return r"\A"
            case sre.AT_END_STRING:
                return r"\z"
            case sre.AT_END if many:
                return "(?m:$)"
            case sre.AT_BOUNDARY | sre.AT_NON_BOUNDARY if self._is_ascii or flags & re.ASCII:
                return r"\b" if place is sre.AT_BOUNDARY else r"\B"
        if self._loose:
            return ""
        raise NotRe2(
            "it asks for a word's border in a text that is not ASCII" if place is not sre.AT_END else "$ of (?-m)"
        )

    def _not_in_re2(self, op: Any, value: Any, flags: int) -> str:
        if not self._loose:
            raise NotRe2(_NOT_IN_RE2.get(op, f"it has {str(op).lower()}"))
        match op:
            case sre.GROUPREF:
                return f"(?:{self.write(self._groups[value], flags)})"
            case sre.GROUPREF_EXISTS:
                _, yes, no = value
                return f"(?:{self.write(yes, flags)}|{self.write(no or [], flags)})"
            case sre.ATOMIC_GROUP:
                return f"(?:{self.write(value, flags)})"
            case sre.POSSESSIVE_REPEAT:
                return self._repeat(value, flags, lazy=False)
            case sre.FAILURE:
                return rf"[^\x{{0}}-\x{{{LAST:x}}}]"
        return ""  # lookaround consumes no character


def takes_line_end(op: Any, value: Any, flags: int) -> bool:
    r"""Whether one part of a tree, not counting its subtrees, matches `\n`."""
    match op:
        case sre.LITERAL:
            return bool(value == ord("\n"))
        case sre.NOT_LITERAL:
            return bool(value != ord("\n"))
        case sre.ANY:
            return bool(flags & re.DOTALL)
        case sre.IN:
            negated = value[0][0] is sre.NEGATE
            return any(_has_line_end(*item) for item in value) != negated
    return False


def _has_line_end(op: Any, value: Any) -> bool:
    if op is sre.CATEGORY:
        return value in (sre.CATEGORY_SPACE, sre.CATEGORY_NOT_WORD, sre.CATEGORY_NOT_DIGIT)
    if op is sre.RANGE:
        return bool(value[0] <= ord("\n") <= value[1])
    return bool(op is sre.LITERAL and value == ord("\n"))
