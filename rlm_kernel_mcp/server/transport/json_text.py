"""Reads JSON that Python's own reader stumbles over, and finds a request's id in text that is not JSON at all.

Is: deep nesting, numbers of thousands of digits, lone surrogates; and which ids an answer can carry. The cost grows
with the text's length and no faster. Is not: what a message is (`frames.py`). Above: `frames.py`. Below: json.
"""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import Any, Final, TypeGuard

DEEPEST: Final = 64
"""Levels of nesting that are kept of a message nested too deep to be parsed."""
LOOKED_AT: Final = 50_000
"""Brackets and strings that are looked at in a line that the parser does not take: some 30 ms."""
LONGEST_NUMBER: Final = 1_000
"""Digits of a whole number that is read exactly; a longer one is beyond every bound and read as infinite."""

# A string that does not end is one token too, to the end of the text: else each quote in it would be tried again.
# Possessive quantifiers (`++`, `*+`; Python 3.11): no backtracking, whatever the text is.
_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]++|[\]}]++', re.DOTALL)
_ID: Final = re.compile(r'\s*:\s*(-?[0-9]{1,18}(?:\.[0-9]{1,18})?|"(?:[^"\\\x00-\x1f]|\\.){0,200}")\s*[,}]')


def parse(text: str) -> Any:
    """The value; below `DEEPEST` levels nothing of it is kept where it is nested too deep to be read.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return json.loads(text, strict=False, parse_int=_number)
    except RecursionError:
        return json.loads(_flattened(text), strict=False, parse_int=_number)


def _number(digits: str) -> int | float:
    # int() of many digits takes quadratic time, and refuses more than 4,300 (CVE-2020-10735).
    return int(digits) if len(digits) <= LONGEST_NUMBER else math.inf


def _flattened(text: str) -> str:
    """The text with everything below `DEEPEST` levels replaced by null: no argument of ours is nested at all.

    Raises:
        ValueError: it has more brackets and strings than are looked at.
    """
    kept: list[str] = []
    start = depth = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        if count == LOOKED_AT:
            raise ValueError(f"it is nested too deep, and has more than {LOOKED_AT:,} brackets and strings")
        step = _step(token)
        if depth <= DEEPEST < depth + step:
            kept.append(text[start : token.start() + DEEPEST - depth] + "null")
        elif depth + step <= DEEPEST < depth:
            start = token.end() - (DEEPEST - depth - step)
        depth += step
    return "".join(kept) + (text[start:] if depth <= DEEPEST else "")


def id_in(text: str) -> int | float | str | None:
    """The request's id, as far as it can be seen in text that is not JSON."""
    depth = 0
    for token in islice(_TOKEN.finditer(text), LOOKED_AT):
        depth += _step(token)
        if depth == 1 and token.group() == '"id"' and (value := _ID.match(text, token.end())):
            return _seen_id(value[1])
    return None


def _seen_id(text: str) -> int | float | str | None:
    """`01` is the number that its writer meant, though it is not JSON."""
    if text[0] != '"':
        return float(text) if "." in text else int(text)
    try:
        found = json.loads(text, strict=False)
    except ValueError:
        return None
    return found if isinstance(found, str) and is_id(found) else None


def _step(token: re.Match[str]) -> int:
    """By how much a run of brackets, or a string, changes the depth."""
    first = token.string[token.start()]
    length = token.end() - token.start()
    return length if first in "[{" else -length if first in "]}" else 0


def is_id(value: object) -> TypeGuard[int | float | str]:
    """Whether an answer can carry it."""
    if isinstance(value, str):
        return is_unicode(value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_unicode(value: object) -> bool:
    """Whether a text has no lone surrogate in it."""
    return not isinstance(value, str) or not any("\ud800" <= character <= "\udfff" for character in value)
