"""One value as a final answer: its `str` where its type is known, and not its `repr`.

Is: dates, decimals, fractions, numbers of numpy, paths and their like, alone. Is not: containers, whose text is that of
`object_text.py`, nor subclasses. No code of the value is run. Above: `values.py`. Below: `library_values.py`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import library_values
from rlm_kernel_mcp.in_kernel.display_text.inspection import is_immutable
from rlm_kernel_mcp.in_kernel.display_text.type_writers import decimal_text, fraction_parts, uuid_text
from rlm_kernel_mcp.in_kernel.display_text.value_text import int_text

_ZONES: Final = frozenset(id(cls) for cls in (type(None), dt.timezone, zoneinfo.ZoneInfo) if is_immutable(cls))
"""Time zones whose own code may be asked for their offset."""


def answer_text(value: Any) -> str | None:
    """The text; None where the value's type has none of its own here."""
    known = _TEXTS.get(id(type(value)))
    if known is not None:
        return known(value)
    number = library_values.number(value)
    if number is not None:
        return int_text(number) if type(number) is int else str(number)
    return library_values.time_text(value)


def _time(value: dt.datetime | dt.time) -> str | None:
    return str(value) if id(type(value.tzinfo)) in _ZONES else None


def _path(value: Any) -> str | None:
    text, whole = library_values.path_text(value)
    return text if whole else None


def _fraction(value: fractions.Fraction) -> str | None:
    numerator, denominator = fraction_parts(value)
    if type(numerator) is not int or type(denominator) is not int:
        return None
    return int_text(numerator) + (f"/{int_text(denominator)}" if denominator != 1 else "")


_TEXTS: Final[dict[int, Callable[[Any], str | None]]] = {
    **dict.fromkeys(map(id, (dt.date, dt.timedelta)), str),
    **dict.fromkeys(map(id, (dt.datetime, dt.time)), _time),
    **dict.fromkeys(map(id, library_values.PATHS), _path),
    **dict.fromkeys(map(id, library_values.ADDRESSES), library_values.address_text),
    **dict.fromkeys(map(id, library_values.NETWORKS), library_values.network_text),
    id(decimal.Decimal): decimal_text,
    id(fractions.Fraction): _fraction,
    id(uuid.UUID): uuid_text,
}
"""By the identity of the exact type."""
