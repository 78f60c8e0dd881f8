"""A variable's value as a kernel sends it: its text, and the JSON in that, checked and made safe to show.

Is: depth, numbers, keys and characters of what a client is given as JSON. Is not: the request for it
(`session/kernels/variables.py`). Above: that. Below: `text/`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from rlm_kernel_mcp.text.safe_text import safe_text
from rlm_kernel_mcp.text.surrogates import decoded

DEPTH_MAX: Final = 100
"""Levels of nesting of a JSON value that is passed on; a kernel of ours shows 50, and the SDK writes some 200."""
JSON_EXPANSION: Final = 6
"""Characters that JSON may need for one character of a text."""
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def decode(payload: bytes) -> str:
    """The text of an answer; takes long where a large one has lone surrogates in it."""
    try:
        return decoded(payload)
    except UnicodeDecodeError:
        return payload.decode("utf-8", "replace")


def json_value(text: str, limit: int) -> tuple[bool, Any]:
    """(True, the value of a JSON text, with every string in it safe to show) if it fits, else (False, its text)."""
    if len(text) > JSON_EXPANSION * (limit + 1):
        return False, text
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
