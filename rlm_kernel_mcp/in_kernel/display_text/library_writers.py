"""Writers for what `library_values.py` reads, and for subclasses of dates.

Is: one writer for each, as `type_writers.py` has them for Python's own types. Is not: the reading.
Above: `type_writers.py`, `object_text.py`. Below: `library_values.py`, `value_text.py`, `inspection.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import inspection, library_values
from rlm_kernel_mcp.in_kernel.display_text.value_text import TypeText, int_text

_TIME_FIELDS: Final[tuple[tuple[type, dict[str, Any]], ...]] = tuple(
    (base, {name: vars(base)[name].__get__ for name in names.split()})
    for base, names in ((dt.date, "year month day"), (dt.timedelta, "days seconds microseconds"))
)
_CLOCK_FIELDS: Final = {name: vars(dt.datetime)[name].__get__ for name in ("hour", "minute", "second", "microsecond")}


def _path(text: TypeText, value: Any) -> None:
    shown, whole = library_values.path_text(value)
    text.put(f"{inspection.type_name(value)}({shown!r}{'' if whole else '…'})")
    text.whole &= whole


def _address(text: TypeText, value: Any) -> None:
    text.put(f"{inspection.type_name(value)}('{library_values.address_text(value)}')")


def _network(text: TypeText, value: Any) -> None:
    text.put(f"{inspection.type_name(value)}('{library_values.network_text(value)}')")


def _memory(text: TypeText, value: memoryview) -> None:
    shown, more = library_values.memory_text(value)
    text.put(shown)
    if more:
        text.parts.append(f"… {more:,} more bytes")
        text.whole = False


def library_value(text: TypeText, value: Any) -> bool:
    """Write a number, a time or an array of numpy; whether it was one."""
    name = library_values.numpy_name(type(value))
    if name is None:
        return False
    number = library_values.number(value)
    if number is not None:
        text.put(f"np.{name}({int_text(number) if type(number) is int else repr(number)})")
        return True
    time = library_values.time_text(value, "__repr__")
    if time is not None:
        text.put(time)
        return True
    part = library_values.array_part(value)
    if part is None:
        return False
    items, more = part
    text.put("array(")
    text.write(items)
    text.put(f"{', ' if more else ''}{more})")
    text.whole &= not more
    return True


def any_time(text: TypeText, value: dt.datetime | dt.date | dt.timedelta, name: str) -> None:
    """A value of a subclass, of pandas for instance: what its base class holds."""
    text.own = False
    if name == "NaTType":
        text.put("NaT")
        return
    fields = next(fields for base, fields in _TIME_FIELDS if issubclass(type(value), base))
    if issubclass(type(value), dt.datetime):
        fields = fields | _CLOCK_FIELDS
    held = [(field, found) for field, get in fields.items() if (found := get(value))]
    text.named(value, name, held, len(held))


LIBRARY_WRITERS: Final[dict[type, Callable[[TypeText, Any], None]]] = {
    memoryview: _memory,
    **dict.fromkeys(library_values.PATHS, _path),
    **dict.fromkeys(library_values.ADDRESSES, _address),
    **dict.fromkeys(library_values.NETWORKS, _network),
}
