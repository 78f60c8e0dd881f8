r"""Python's character classes written for RE2, which has ASCII ones and Unicode tables of another version.

Is: `\w`, `\d`, `\s`, and which characters are the same letter if case is ignored, as ranges that are obtained from `re`
itself, so that both agree whatever version of Unicode each has. Is not: a pattern (`translation.py`). Above:
`translation.py`. Below: the standard library.
"""

from __future__ import annotations

import re
import sys
from array import array
from functools import cache
from typing import Final

LAST: Final = sys.maxunicode
PLANE: Final = 1 << 16
CASED_BELOW: Final = 2 * PLANE
"""No script in a higher plane has upper and lower case (a test checks them all)."""
CATEGORIES: Final = {
    "digit": r"\d",
    "not_digit": r"\D",
    "space": r"\s",
    "not_space": r"\S",
    "word": r"\w",
    "not_word": r"\W",
}


def char(point: int) -> str:
    """One character of a pattern or class, escaped so that RE2 never takes it for syntax."""
    plain = chr(point)
    return plain if plain.isascii() and plain.isalnum() else f"\\x{{{point:x}}}"


def span(first: int, last: int) -> str:
    """A range of a class."""
    return char(first) if first == last else f"{char(first)}-{char(last)}"


@cache
def category(name: str, *, is_ascii: bool) -> str:
    """The inside of a class for one of `CATEGORIES`. `is_ascii`: as under `re.ASCII`."""
    return "".join(span(first, last) for first, last in _ranges(CATEGORIES[name], is_ascii=is_ascii))


@cache
def _ranges(escape: str, *, is_ascii: bool) -> list[tuple[int, int]]:
    pattern = re.compile(f"{escape}+", re.ASCII if is_ascii else 0)
    # Under `re.ASCII` all characters beyond ASCII are alike, so trying the last one is enough.
    planes = [range(128)] if is_ascii else [range(first, first + PLANE) for first in range(0, LAST + 1, PLANE)]
    found: list[tuple[int, int]] = []
    for plane in planes:
        for match in pattern.finditer(_characters(plane)):
            _append(found, plane.start + match.start(), plane.start + match.end() - 1)
    if is_ascii and pattern.match(chr(LAST)):
        _append(found, 128, LAST)
    return found


def _characters(points: range) -> str:
    # Ten times faster than with `chr`: a caller waits, and the interpreter lock is held meanwhile.
    return array("I", points).tobytes().decode(f"utf-32-{sys.byteorder[0]}e", "surrogatepass")


def _append(found: list[tuple[int, int]], first: int, last: int) -> None:
    """Append a range, merged with the last one if it continues that."""
    if found and found[-1][1] == first - 1:
        first = found.pop()[0]
    found.append((first, last))


@cache
def _cased() -> str:
    """Every character that may equal another one if case is ignored."""
    return "".join(one for one in _characters(range(CASED_BELOW)) if one.lower() != one or one.upper() != one)


def same_letters(first: int, last: int, *, is_ascii: bool) -> str:
    """The inside of a class: the characters of a range, and those that equal one of them if case is ignored."""
    flags = re.IGNORECASE | (re.ASCII if is_ascii else 0)
    one_of = f"[{re.escape(chr(first))}-{re.escape(chr(last))}]"
    cased = _ASCII_LETTERS if is_ascii else _cased()
    others = [ord(one) for one in re.findall(one_of, cased, flags) if not first <= ord(one) <= last]
    return span(first, last) + "".join(map(char, others))


_ASCII_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
