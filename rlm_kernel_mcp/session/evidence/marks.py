"""The marks of an answer: what in it is a citation, however it is written.

Is: `[c3]`, several in one pair of brackets, and whatever a reader takes for that (decision 0111). Is not: what a mark
stands for (`check.py`). Sans-I/O. Above: `session/finalize.py`, `annotations.py`. Below: `errors.py`.

A long answer comes page by page; wherever one ends, the marks are those of the whole text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput

MARK_DIGITS: Final = 18
"""A longer number is cut to its first digits: no citation has one of these either, so the answer fails."""
BRACKETS_CHARS_MAX: Final = 100_000
"""Characters from a bracket on that may be a mark so far and reach into the next page: all that is ever held."""
_OPEN, _CLOSE = "\\[\uff3b\ufe47", "\\]\uff3d\ufe48"
"""Brackets, and what NFKC makes brackets."""
_OPENING, _CLOSING = "[\uff3b\ufe47", "]\uff3d\ufe48"
_IN_BRACKETS: Final = re.compile(rf"[{_OPEN}](?=[c\s]|[^\x00-\x7f])([^{_OPEN}{_CLOSE}]+)[{_CLOSE}]")
_MARKS: Final = re.compile(r"\s*c\d+(?:[\s,;\u3001]+c\d+)*[\s,;\u3001]*", re.ASCII)
_NUMBER: Final = re.compile(r"\d+", re.ASCII)
_OF_MARKS: Final = frozenset("c0123456789,;\u3001 ")
_LIKE_C: Final = dict.fromkeys("\u0441\u03f2\u1d04\u2ca5\uabaf\U0001043d", "c")
"""Letters that look like c and that NFKC leaves as they are, or makes another one (UTS #39, confusables.txt)."""


def marks_of(answer: str | Iterable[str], most: int | None = None) -> list[int]:
    """The numbers of an answer's marks, each once, in order; no more than `most` of them, where that is given.

    `answer`: a text, or its pages.

    Raises:
        InvalidInput: what reads as one mark, in a text of pages, does not end.
    """
    numbers = dict[int, None]()
    for number, _ in _marks(answer):
        numbers[number] = None
        if most is not None and len(numbers) >= most:
            break
    return list(numbers)


def spellings(answer: str | Iterable[str]) -> dict[int, str]:
    """How each is written, by number: the first brackets in which it stands. `answer`, and raises: as `marks_of`."""
    found: dict[int, str] = {}
    for number, brackets in _marks(answer):
        found.setdefault(number, brackets)
    return found


def _marks(answer: str | Iterable[str]) -> Iterator[tuple[int, str]]:
    held, known = "", 1  # so many characters of it were looked at with the pages before
    for page in (answer,) if isinstance(answer, str) else answer:
        if not _may_go_on(held[known:]):
            held = ""
        if len(held) > BRACKETS_CHARS_MAX:
            raise InvalidInput(
                f"A bracket of the answer is followed by {len(held):,} characters of which a mark such as [c1] can be "
                f"made, and by no other bracket; at most {BRACKETS_CHARS_MAX:,} are looked at.",
                "Close the brackets or leave them out; the session is as it was.",
            )
        text, known = held + page, max(len(held), 1)
        end = _last_open(text)
        yield from _marks_of(text[:end])
        held, known = text[end:], known if end == 0 else 1


def _last_open(text: str) -> int:
    """Where a bracket stands that opens and has no other behind it; the text's end where there is none."""
    opens = max(map(text.rfind, _OPENING))
    return opens if opens > max(map(text.rfind, _CLOSING)) else len(text)


def _may_go_on(inner: str) -> bool:
    """Whether what follows a bracket and these characters can make a mark of them."""
    return all(_plain(one) is not None for one in inner)


def _marks_of(text: str) -> Iterator[tuple[int, str]]:
    if not any(one in text for one in _OPENING):  # a hundredth of the expression's time
        return
    for brackets in _IN_BRACKETS.finditer(text):
        inner = _as_it_looks(brackets[1])
        if _MARKS.fullmatch(inner) is not None:
            for digits in _NUMBER.findall(inner):
                yield int(digits.lstrip("0")[:MARK_DIGITS] or "0"), brackets[0]


def _as_it_looks(text: str) -> str:
    """Without styles and widths of characters, and without what shows nothing of its own; empty if it is no mark.

    One character at a time: a long text of ligatures or accents would take `normalize` many seconds, in one call.
    """
    if text.isascii():
        return text
    shown = []
    for one in text:
        if (plain := _plain(one)) is None:
            return ""
        shown.append(plain)
    return "".join(shown)


@lru_cache(4_096)
def _plain(one: str) -> str | None:
    """A character as it looks, empty if that is nothing; None if no mark has it."""
    if unicodedata.category(one)[0] in "CM" and not one.isspace():
        return ""
    plain = " " if one.isspace() else _LIKE_C.get(one) or unicodedata.normalize("NFKC", one)
    return plain if _OF_MARKS.issuperset(plain) else None
