"""One writer for each built-in and library type that an analyst meets.

Is: the tables `EXACT` (by exact type) and `BASES` (subclasses, by what they hold as such). Every writer reads through
C-level slots of an exact type, so that no code of the value runs. Is not: what
to do with any other object (`object_text.py`).
Above: `object_text.py`. Below: `library_writers.py`, `value_text.py`, `inspection.py`,
`in_kernel/namespace/documents.py`.
"""

from __future__ import annotations

import array
import collections
import datetime as dt
import decimal
import fractions
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import inspection
from rlm_kernel_mcp.in_kernel.display_text.library_writers import LIBRARY_WRITERS, any_time
from rlm_kernel_mcp.in_kernel.display_text.value_text import (
    WORK_CHARS,
    TypeText,
    blocks,
    dict_pairs,
    int_text,
    list_blocks,
)
from rlm_kernel_mcp.in_kernel.namespace.documents import Documents, held_names
from rlm_kernel_mcp.in_kernel.namespace.live_facade import LiveFacade

DECIMAL_BYTES: Final = 400_000
"""Memory of a Decimal above which its digits are not written out (about a million of them)."""

_decimal_text: Final = decimal.Decimal.__str__
_decimal_bytes: Final = decimal.Decimal.__sizeof__
_numerator: Final = vars(fractions.Fraction)["_numerator"].__get__
_denominator: Final = vars(fractions.Fraction)["_denominator"].__get__
_uuid_int: Final = vars(uuid.UUID)["int"].__get__
_exception_args: Final = BaseException.__dict__["args"].__get__
_deque_limit: Final = vars(collections.deque)["maxlen"].__get__
_default_factory: Final = vars(collections.defaultdict)["default_factory"].__get__
_FLAGS: Final = {"A": re.ASCII, "I": re.IGNORECASE, "L": re.LOCALE, "M": re.MULTILINE, "S": re.DOTALL, "X": re.VERBOSE}


def _str(text: TypeText, value: str, name: str = "") -> None:
    del name
    text.cut(str.__len__(value), lambda room: repr(str.__getitem__(value, slice(room))), "characters")


def _bytes(text: TypeText, value: bytes, name: str = "") -> None:
    del name
    text.cut(bytes.__len__(value), lambda room: repr(bytes.__getitem__(value, slice(room))), "bytes")


def _bytearray(text: TypeText, value: bytearray) -> None:
    text.cut(len(value), lambda room: repr(value[:room]), "bytes")


def _tuple(text: TypeText, value: tuple[Any, ...]) -> None:
    text.bracketed(value, ("(", ",)" if len(value) == 1 else ")"), value, value.__len__)


def _set(text: TypeText, value: set[Any]) -> None:
    if value:
        text.bracketed(value, ("{", "}"), blocks(lambda: iter(value)), value.__len__)
    else:
        text.put("set()")


def _array(text: TypeText, value: array.array[Any]) -> None:
    edges = (f"array('{value.typecode}', [", "])")
    text.bracketed(value, edges, blocks(lambda: iter(value)), value.__len__)


def _dict_view(text: TypeText, value: Any) -> None:
    edges = (f"{inspection.type_name(value)}([", "])")
    text.bracketed(value, edges, blocks(lambda: iter(value)), value.__len__)


def _range(text: TypeText, value: range) -> None:
    parts = [value.start, value.stop] if value.step == 1 else [value.start, value.stop, value.step]
    text.put(f"range({', '.join(map(int_text, parts))})")


def _datetime(text: TypeText, value: dt.datetime | dt.time) -> None:
    if value.tzinfo is None:
        text.put(repr(value))
        return
    text.put(repr(value.replace(tzinfo=None)).removesuffix(")") + ", tzinfo=")
    text.write(value.tzinfo)
    text.put(")")


def _timezone(text: TypeText, value: dt.timezone) -> None:
    text.put("datetime.timezone.utc" if value is dt.UTC else f"datetime.timezone({value.utcoffset(None)!r})")


def _pattern(text: TypeText, value: re.Pattern[Any]) -> None:
    text.put("re.compile(")
    text.write(value.pattern)
    flags = "|".join(f"re.{name}" for name, flag in _FLAGS.items() if value.flags & flag)
    text.put(f", {flags})" if flags else ")")


def _match(text: TypeText, value: re.Match[Any]) -> None:
    start, end = value.span()
    text.put(f"<re.Match object; span=({start}, {end}), match=")
    text.write(value.group() if end - start <= WORK_CHARS else ...)
    text.put(">")


def uuid_text(value: uuid.UUID) -> str:
    """A UUID as text."""
    number = _uuid_int(value)
    digits = f"{number:032x}" if type(number) is int and 0 <= number < 1 << 128 else "?"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _uuid(text: TypeText, value: uuid.UUID) -> None:
    text.put(f"UUID('{uuid_text(value)}')")


def fraction_parts(value: fractions.Fraction) -> tuple[Any, Any]:
    """Numerator and denominator, which code may have replaced by anything."""
    return _numerator(value), _denominator(value)


def _fraction(text: TypeText, value: fractions.Fraction) -> None:
    text.bracketed(value, ("Fraction(", ")"), fraction_parts(value), lambda: 2)


def decimal_text(value: decimal.Decimal) -> str | None:
    """A decimal as text; None for a giant one."""
    return None if _decimal_bytes(value) > DECIMAL_BYTES else _decimal_text(value)


def _decimal(text: TypeText, value: decimal.Decimal) -> None:
    digits = decimal_text(value)
    text.put(f"<Decimal of {_decimal_bytes(value)} bytes>" if digits is None else f"Decimal('{digits}')")


def _documents(text: TypeText, value: Documents) -> None:
    names = held_names(value)
    head = f"<Documents: {len(names):,} document{'' if len(names) == 1 else 's'}: "
    text.bracketed(value, (head, ">"), list_blocks(names), names.__len__)


def _method(text: TypeText, value: types.MethodType) -> None:
    function = value.__func__
    name = function.__qualname__ if type(function) is types.FunctionType else inspection.type_name(function)
    text.put(f"<bound method {inspection.exact(name)}>")


def _generator(text: TypeText, value: Any) -> None:
    text.own = False  # what it yields does not exist yet
    text.put(f"<{inspection.type_name(value)} {inspection.exact(value.__name__)}>")


def _module(text: TypeText, value: types.ModuleType) -> None:
    text.put(f"<module '{inspection.module_name(value)}'>")


def _slice(text: TypeText, value: slice) -> None:
    text.bracketed(value, ("slice(", ")"), (value.start, value.stop, value.step), lambda: 3)


def _zone(text: TypeText, value: zoneinfo.ZoneInfo) -> None:
    text.named(value, "zoneinfo.ZoneInfo", [("key", value.key)], 1)


def _any_int(text: TypeText, value: int, name: str) -> None:
    text.put(f"{name}({int_text(value)})")


def _any_float(text: TypeText, value: float, name: str) -> None:
    text.put(f"{name}({float.__repr__(value)})")


def _any_tuple(text: TypeText, value: tuple[Any, ...], name: str) -> None:
    items = tuple.__getitem__(value, slice(None))
    fields = inspection.class_attribute(type(value), "_fields")
    if type(fields) is tuple and len(fields) == len(items) and all(type(field) is str for field in fields):
        text.named(value, name, zip(fields, items, strict=True), len(items))
    else:
        text.bracketed(value, (f"{name}((", "))"), items, items.__len__)


def _any_list(text: TypeText, value: list[Any], name: str) -> None:
    text.bracketed(value, (f"{name}([", "])"), list_blocks(value), lambda: list.__len__(value))


def _any_dict(text: TypeText, value: dict[Any, Any], name: str) -> None:
    if type(value) is not collections.defaultdict:
        text.mapping(value, (f"{name}({{", "})"), dict_pairs(value))
        return
    text.put(f"{name}(")
    text.write(_default_factory(value))
    text.mapping(value, (", {", "})"), dict_pairs(value))


def _any_set(text: TypeText, value: Any, name: str) -> None:
    base: Any = set if issubclass(type(value), set) else frozenset
    edges = (f"{name}({{", "})") if base.__len__(value) else (f"{name}(", ")")
    text.bracketed(value, edges, blocks(lambda: base.__iter__(value)), lambda: base.__len__(value))


def _any_deque(text: TypeText, value: collections.deque[Any], name: str) -> None:
    limit = _deque_limit(value)
    edges = (f"{name}([", "])" if limit is None else f"], maxlen={limit})")
    items = blocks(lambda: collections.deque.__iter__(value))
    text.bracketed(value, edges, items, lambda: collections.deque.__len__(value))


def _any_exception(text: TypeText, value: BaseException, name: str) -> None:
    args = _exception_args(value)
    text.bracketed(value, (f"{name}(", ")"), args, args.__len__)


def _by_repr(text: TypeText, value: object) -> None:
    """The writer for types whose `repr` is C code that asks no other object."""
    text.put(repr(value))


Writer = Callable[[TypeText, Any], None]

_WRITERS: Final[dict[type, Writer]] = {
    **dict.fromkeys(
        (type(None), bool, float, complex, type(...), type(NotImplemented), dt.date, dt.timedelta), _by_repr
    ),
    **dict.fromkeys((type({}.keys()), type({}.values()), type({}.items())), _dict_view),
    **dict.fromkeys((types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType), _generator),
    int: lambda text, value: text.put(int_text(value)),
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    list: lambda text, value: text.bracketed(value, ("[", "]"), list_blocks(value), value.__len__),
    tuple: _tuple,
    dict: lambda text, value: text.mapping(value, ("{", "}"), dict_pairs(value)),
    set: _set,
    array.array: _array,
    range: _range,
    slice: _slice,
    dt.datetime: _datetime,
    dt.time: _datetime,
    dt.timezone: _timezone,
    zoneinfo.ZoneInfo: _zone,
    decimal.Decimal: _decimal,
    fractions.Fraction: _fraction,
    uuid.UUID: _uuid,
    re.Pattern: _pattern,
    re.Match: _match,
    **LIBRARY_WRITERS,
    Documents: _documents,
    types.FunctionType: lambda text, value: text.put(inspection.function_text(value)),
    types.BuiltinFunctionType: lambda text, value: text.put(f"<built-in function {value.__name__}>"),
    types.MethodType: _method,
    **dict.fromkeys((types.ModuleType, LiveFacade), _module),
}

EXACT: Final[dict[int, Writer]] = {id(cls): writer for cls, writer in _WRITERS.items()}
"""Writers by the identity of the exact type: a type's hash would be its metaclass's to compute."""

BASES: Final[tuple[tuple[type, Callable[[TypeText, Any, str], None]], ...]] = (
    (str, _str),
    (int, _any_int),
    (float, _any_float),
    (bytes, _bytes),
    (tuple, _any_tuple),
    (list, _any_list),
    (dict, _any_dict),
    (set, _any_set),
    (frozenset, _any_set),
    (collections.deque, _any_deque),
    (BaseException, _any_exception),
    (dt.date, any_time),
    (dt.timedelta, any_time),
)
"""Writers of a built-in type's subclasses, which get the name of the class; `Counter` and `defaultdict` are dicts."""
