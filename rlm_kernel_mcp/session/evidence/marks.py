"""The marks of an answer: what in it is a citation, however it is written.

Is: `[c3]`, several in one pair of brackets, and whatever a reader takes for that (decision 0111). Is not: what a mark
stands for (`check.py`). Sans-I/O. Above: `session/finalize.py`, `annotations.py`. Below: nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

MARK_DIGITS: Final = 18
"""A longer number is cut to its first digits: no citation has one of these either, so the answer fails."""
_OPEN, _CLOSE = "\\[\uff3b\ufe47", "\\]\uff3d\ufe48"
"""Brackets, and what NFKC makes brackets."""
_IN_BRACKETS: Final = re.compile(rf"[{_OPEN}](?=[c\s]|[^\x00-\x7f])([^{_OPEN}{_CLOSE}]+)[{_CLOSE}]")
_MARKS: Final = re.compile(r"\s*c\d+(?:[\s,;\u3001]+c\d+)*[\s,;\u3001]*", re.ASCII)
_NUMBER: Final = re.compile(r"\d+", re.ASCII)
_OF_MARKS: Final = frozenset("c0123456789,;\u3001 ")
_LIKE_C: Final = dict.fromkeys("\u0441\u03f2\u1d04\u2ca5\uabaf\U0001043d", "c")
"""Letters that look like c and that NFKC leaves as they are, or makes another one (UTS #39, confusables.txt)."""


def marks_of(answer: str) -> list[int]:
    """The numbers of an answer's marks, each once, in order."""
    return list(dict.fromkeys(number for number, _ in _marks(answer)))


def spellings(answer: str) -> dict[int, str]:
    """How each is written, by number: the first brackets in which it stands."""
    found: dict[int, str] = {}
    for number, brackets in _marks(answer):
        found.setdefault(number, brackets)
    return found


def _marks(answer: str) -> Iterator[tuple[int, str]]:
    for brackets in _IN_BRACKETS.finditer(answer):
        text = _as_it_looks(brackets[1])
        if _MARKS.fullmatch(text) is not None:
            for digits in _NUMBER.findall(text):
                yield int(digits.lstrip("0")[:MARK_DIGITS] or "0"), brackets[0]


def _as_it_looks(text: str) -> str:
    """Without styles and widths of characters, and without what shows nothing of its own; empty if it is no mark.

    One character at a time: a long text of ligatures or accents would take `normalize` many seconds, in one call.
    """
    if text.isascii():
        return text
    shown = []
    for one in text:
        if unicodedata.category(one)[0] in "CM" and not one.isspace():
            continue
        plain = " " if one.isspace() else _LIKE_C.get(one) or unicodedata.normalize("NFKC", one)
        if not _OF_MARKS.issuperset(plain):
            return ""
        shown.append(plain)
    return "".join(shown)
