"""Values as a kernel sends them: JSON, checked, and made safe to show or fit to be passed on.

Is: depth, numbers, keys and characters of what a client is given as JSON, be that a variable or what a function is
called with (`plain_object`) or gives (`plain_json`). Is not: a request (`session/kernels/variables.py`), nor what the
values mean: a function has to treat them as hostile. Sans-I/O. Above: those, `session/functions/`,
`session/parked/desk.py`. Below: `text/`, `questions_wire.py`.
"""

from __future__ import annotations

import json
import math
import re
from itertools import chain
from typing import Any, Final

from rlm_kernel_mcp.questions_wire import JSON_DEPTH_MAX, JSON_VALUES_MAX
from rlm_kernel_mcp.text.json_items import is_crowded
from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.surrogates import decoded

DEPTH_MAX: Final = 100
"""Levels of nesting of a JSON value that is passed on; a kernel of ours shows 50, and the SDK writes some 200."""
JSON_EXPANSION: Final = 6
"""Characters that JSON may need for one character of a text."""
WHOLE_NUMBERS: Final = range(-(1 << 63), 1 << 64)
"""What every reader of JSON can hold; many fail on a longer one."""
DIGITS_MAX: Final = 20
"""Of such a number, with its sign."""
_MAY_BE_LONG: Final = re.compile("[0-9][0-9]{18}")
"""A whole number that may be too long. The first digit by itself: so all else is passed over in a third of the time."""
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def decode(payload: bytes) -> str:
    """The text of an answer; takes long where a large one has lone surrogates in it."""
    try:
        return decoded(payload)
    except UnicodeDecodeError:
        return payload.decode("utf-8", "replace")


def json_value(text: str, limit: int) -> tuple[bool, Any]:
    """(True, the value of a JSON text, with every string in it safe to show) if it fits, else (False, its text)."""
    if len(text) > JSON_EXPANSION * (limit + 1) or _is_crowded(text, limit // 2 + 1):
        return False, text  # each item of what fits takes two characters at least
    try:
        value = parsed(text)
        written = _written(value)
    except (ValueError, RecursionError):
        return False, text
    try:
        safe = _safe_value(value, DEPTH_MAX)
    except ValueError:
        return False, written
    # A text has as many characters as are shown of it; inside another value an escape may be longer than its source.
    fits = len(written) <= limit and not (isinstance(safe, str) and len(safe) > limit)
    return (True, safe) if fits else (False, written)


def parsed(text: str) -> Any:
    """The value of a JSON text, with every string in it as it came. Raises: ValueError, RecursionError."""
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _written(value: Any) -> str:
    """A JSON value's text as the kernel counts it: of a `str` itself, else JSON with spaces, of valid Unicode."""
    if isinstance(value, str):
        return value
    return _LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    """A number as it was read. One that is too large to be a float (1e999) could not be written as JSON again."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return number


def _safe_value(value: Any, levels: int) -> Any:
    """A JSON value with every text in it safe to show. Raises: ValueError where only its text would be complete."""
    if isinstance(value, str):
        return safe_text(value)
    if not isinstance(value, list | dict):
        return value
    if not levels:
        raise ValueError("it is nested too deep for an answer")
    if isinstance(value, list):
        return [_safe_value(item, levels - 1) for item in value]
    safe = {safe_text(key): _safe_value(item, levels - 1) for key, item in value.items()}
    if len(safe) < len(value):
        raise ValueError("two of its keys are shown alike")
    return safe


class NotPlain(Exception):
    """What a text is not, after "it"."""


def plain_json(text: str) -> str:
    """The same JSON, fit to be passed on. Raises: NotPlain."""
    return _written_anew(_plain(text))


def plain_object(text: str) -> str:
    """The same of what has to be an object. Raises: NotPlain."""
    value = _plain(text)
    if type(value) is not dict:
        raise NotPlain("is no JSON object")
    return _written_anew(value)


def _plain(text: str) -> Any:
    if _is_crowded(text, JSON_VALUES_MAX):
        raise NotPlain(f"has more than {JSON_VALUES_MAX:,} brackets and commas")
    try:
        value = (_read_plain_bounded if _MAY_BE_LONG.search(text) else _read_plain)(text)
    except RecursionError:
        raise NotPlain(_TOO_DEEP) from None
    except ValueError:
        raise NotPlain("is no JSON") from None
    if text.count("[") + text.count("{") > JSON_DEPTH_MAX and _is_deep(value):
        raise NotPlain(_TOO_DEEP)
    return value


_TOO_DEEP: Final = f"is nested more than {JSON_DEPTH_MAX} levels deep"


def _is_crowded(text: str, most: int) -> bool:
    """Whether it has more items than so many (`text/json_items.py`)."""
    return is_crowded(text.encode("utf-8", "surrogatepass"), most)


def _written_anew(value: Any) -> str:
    try:
        text = _write_plain(value)
        text.encode()
    except UnicodeEncodeError:
        raise NotPlain("has a lone surrogate, which is no character") from None
    except ValueError:  # 1e999 is read, and could not be written
        raise NotPlain("has a number that is too large") from None
    return text


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(JSON_DEPTH_MAX):
        inner = chain.from_iterable(one.values() if type(one) is dict else one for one in level)
        level = [one for one in inner if type(one) in (dict, list)]
        if not level:
            return False
    return True


def _whole(digits: str) -> int:
    if len(digits) > DIGITS_MAX or (number := int(digits)) not in WHOLE_NUMBERS:
        raise NotPlain("has a whole number of more than 64 bits")
    return number


def _no_plain_constant(name: str) -> float:
    raise NotPlain(f"has {name}, which is not JSON")


# Made once: `json.loads` and `json.dumps` make one for each call with other options, which takes as long as its work.
_read_plain: Final = json.JSONDecoder(parse_constant=_no_plain_constant).decode
_read_plain_bounded: Final = json.JSONDecoder(parse_int=_whole, parse_constant=_no_plain_constant).decode
_write_plain: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
