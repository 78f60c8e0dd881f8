"""The names of dtypes, as a table says them, made of what C code holds of them.

Is: numpy's, and those of pandas'. Is not: `str` of one, which would run Python code that a step can replace.
Above: `reading.py`, `cells.py`. Below: `known.py`, `inspection.py`.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import inspection
from rlm_kernel_mcp.in_kernel.tables.known import Unreadable, known

_LETTERS: Final = {"i": "int", "u": "uint", "f": "float", "c": "complex", "M": "datetime64", "m": "timedelta64"}
_ZONES: Final = frozenset(
    id(cls) for cls in (dt.timezone, zoneinfo.ZoneInfo) if inspection.is_immutable(cls)
)  # fmt: skip
"""Time zones whose own code may be asked for their offset, as it is C code that nobody can change."""


def is_plain_zone(zone: Any) -> bool:
    """Whether its own code may be asked for its name and offset."""
    return id(type(zone)) in _ZONES


def dtype_text(value: Any) -> str | None:
    """The name of a dtype of numpy or pandas, as a table of dtypes has it; None if it is none."""
    cls = type(value)
    if inspection.static_name(cls, "numpy.dtypes") is not None:
        return numpy_dtype(value)
    pandas = known()
    if pandas is None:
        return None
    own = inspection.instance_dict(value) or {}
    if cls is pandas.text_type:
        return "string" if own.get("_na_value") is pandas.missing else "str"
    if cls is pandas.zoned_type:
        unit, zone = own.get("_unit"), own.get("_tz")
        return f"datetime64[{unit}, {_zone_name(zone)}]" if type(unit) is str and is_plain_zone(zone) else None
    return pandas.types.get(id(cls))


def numpy_dtype(dtype: Any, zone: dt.tzinfo | None = None) -> str:
    """The name of a dtype of numpy's; `zone`: of times that are in one."""
    letter = str(dtype.kind)
    if letter in "Mm":
        unit = str(dtype.str).partition("[")[2].removesuffix("]")
        return f"{_LETTERS[letter]}[{unit}{'' if zone is None else f', {_zone_name(zone)}'}]"
    named = {"b": "bool", "O": "object"}.get(letter)
    return named or f"{_LETTERS.get(letter, letter)}{dtype.itemsize * (8 if letter in 'iufc' else 1)}"


def _zone_name(zone: dt.tzinfo | None) -> str:
    """The name of a zone of one of `_ZONES`, which a session may have given it. Raises: Unreadable."""
    try:
        return inspection.exact(str(zone))
    except TypeError:
        raise Unreadable from None
