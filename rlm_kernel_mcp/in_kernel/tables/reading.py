"""What a table of pandas holds, read with none of pandas' own Python code run.

Is: the arrays of a DataFrame or Series, from instance dicts and from descriptors of pandas' C code that were taken
before any user code. Is not: their text (`cells.py`, `layout.py`). What is held otherwise (an array of Arrow's, a
period, an interval) is read as nothing, and the table is then shown by its class alone.
Above: `layout.py`, `cells.py`. Below: `dtypes.py`, `known.py`, `inspection.py`, `library_values.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final, Literal

from rlm_kernel_mcp.in_kernel.display_text import inspection
from rlm_kernel_mcp.in_kernel.display_text.library_values import array_shape, numpy_name
from rlm_kernel_mcp.in_kernel.tables import dtypes
from rlm_kernel_mcp.in_kernel.tables.known import Known, Unreadable, known

COLUMNS_READ: Final = 100_000
"""Columns of one table, and blocks that they lie in; one of more is shown by its class alone."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column's array; what it needs beside that is there where it is not None."""

    values: Any
    mask: Any = None
    """Where a value is missing."""
    names: Column | range | None = None
    """What the codes of a category stand for."""
    dtype: str = ""
    zone: dt.tzinfo | None = None
    ordered: bool = False


Axis = Column | range
"""The labels of one level of an index."""


@dataclass(frozen=True, slots=True)
class Table:
    """A DataFrame or Series and what holds its parts, looked up once: a step may put another in its place meanwhile."""

    value: Any
    manager: Any

    @classmethod
    def of(cls, value: Any) -> Table:
        """Raises: Unreadable."""
        return cls(value, _held(value, "_mgr"))

    @property
    def is_series(self) -> bool:
        """Whether it has one column, which has no label."""
        return type(self.value) is _pandas().series


def axes_of(table: Table) -> list[Any]:
    """The axes of a table, columns before rows; of a Series its rows alone. Raises: Unreadable."""
    found = _of_manager(table, "axes")
    if type(found) is not list or len(found) != (1 if table.is_series else 2):
        raise Unreadable
    return found


def columns_of(table: Table, wanted: list[int]) -> list[Column]:
    """These columns of a DataFrame, or the only one of a Series (`wanted` is then `[0]`). Raises: Unreadable."""
    pandas, found = _pandas(), dict[int, Column]()
    blocks = _of_manager(table, "blocks")
    if type(blocks) is not tuple or len(blocks) > COLUMNS_READ:
        raise Unreadable
    left = set(wanted)
    for block in blocks:
        held = _asked(pandas.values, block)
        if table.is_series:
            return [column(held)]
        places = _asked(pandas.as_array, _asked(pandas.places, block))
        for row, place in enumerate(_numbers(places)):
            if place in left:
                left.discard(place)
                is_block = numpy_name(type(held)) == "ndarray" or type(held) in pandas.times
                found[place] = column(held, row if is_block else None)
    if left:
        raise Unreadable
    return [found[place] for place in wanted]


def column(held: Any, row: int | None = None) -> Column:
    """What an array of pandas or numpy holds; `row` is the column's place in a block of several. Raises: Unreadable."""
    pandas, cls = _pandas(), type(held)
    if numpy_name(cls) == "ndarray":
        return Column(_array(held, row))
    if cls is pandas.categorical:
        own = inspection.instance_dict(_asked(pandas.dtype, held)) or {}
        names = _one(levels_of(own.get("_categories")))
        return Column(_array(_asked(pandas.ndarray, held)), None, names, "category", None, own.get("_ordered") is True)
    if cls in pandas.times:
        array, dtype = _array(_asked(pandas.ndarray, held), row), _asked(pandas.dtype, held)
        if inspection.static_name(type(dtype), "numpy.dtypes") is not None:
            return Column(array)
        zone = _held(dtype, "_tz")
        if not dtypes.is_plain_zone(zone):
            raise Unreadable
        return Column(array, zone=zone)
    if cls in pandas.texts:
        # NumpyExtensionArray has a dtype of pandas' that stands for numpy's own.
        return Column(
            _array(_asked(pandas.ndarray, held), row), dtype=dtypes.dtype_text(_asked(pandas.dtype, held)) or ""
        )
    if cls in pandas.masked:
        array = _array(_held(held, "_data"))
        name = dtype_name(Column(array))
        name = "boolean" if name == "bool" else name.replace("uint", "UInt").replace("int", "Int").replace("fl", "Fl")
        return Column(array, _array(_held(held, "_mask")), dtype=name)
    raise Unreadable


def levels_of(index: Any) -> list[Axis]:
    """The labels of each level of an index. Raises: Unreadable."""
    pandas = _pandas()
    if type(index) is pandas.range_index:
        found = _held(index, "_range")
        if type(found) is not range:
            raise Unreadable
        return [found]
    if type(index) in pandas.indexes:
        return [column(_held(index, "_data"))]
    if type(index) is not pandas.multi_index:
        raise Unreadable
    levels, codes = _items(_held(index, "_levels")), _items(_held(index, "_codes"))
    if not levels or len(levels) != len(codes):
        raise Unreadable
    return [Column(_array(code), names=_one(levels_of(level))) for level, code in zip(levels, codes, strict=True)]


def names_of(index: Any) -> list[str | None]:
    """The name of each level of an index, if it is a text or a number."""
    if type(index) is _pandas().multi_index:
        return [_name(found) for found in _items(_held(index, "_names"))]
    return [name_of(index)]


def name_of(value: Any) -> str | None:
    """The name of a Series or an index of one level, if it is a text or a number."""
    return _name((inspection.instance_dict(value) or {}).get("_name"))


def frequency_of(index: Any) -> str | None:
    """The distance of an index' times, where pandas has kept one with a plain name."""
    pandas = _pandas()
    kept = (inspection.instance_dict(index) or {}).get("_freq") if type(index) in pandas.indexes else None
    name = pandas.frequencies.get(id(type(kept)))
    if name is None:
        return None
    count = _asked(pandas.multiple, kept)
    return name if count == 1 else f"{count}{name}"


def length(found: Axis) -> int:
    """How many values there are."""
    if type(found) is range:
        return len(found)
    assert isinstance(found, Column)
    return int(_shape(found.values)[0])


def part(array: Any, places: slice) -> list[Any]:
    """A slice of an array of one dimension, as a list; times as numpy has them."""
    cls = type(array)
    cut = inspection.class_attribute(cls, "__getitem__")(array, places)
    if kind(array) in "mM":
        return [cut[place] for place in range(len(cut))]
    found: list[Any] = inspection.class_attribute(cls, "tolist")(cut)
    return found


def kind(array: Any) -> str:
    """The letter of an array's kind: `i`, `u`, `f`, `c`, `b`, `M`, `m`, `O` and others."""
    return str(_dtype_of(array).kind)


def dtype_name(found: Axis) -> str:
    """The name of a column's dtype, as pandas says it; made of what numpy's C code says."""
    if type(found) is range:
        return "int64"
    assert isinstance(found, Column)
    if found.dtype:
        return found.dtype
    return dtypes.numpy_dtype(_dtype_of(found.values), found.zone)


def _one(levels: list[Axis]) -> Axis:
    if len(levels) != 1:
        raise Unreadable
    return levels[0]


def _pandas() -> Known:
    found = known()
    if found is None:
        raise Unreadable
    return found


def _name(found: Any) -> str | None:
    if type(found) is str:
        return found
    return str(found) if type(found) in (int, float, bool) else None


def _items(found: Any) -> list[Any]:
    """The items of a FrozenList, which is a list. Raises: Unreadable."""
    if not issubclass(type(found), list) or list.__len__(found) > COLUMNS_READ:
        raise Unreadable
    return list.__getitem__(found, slice(None))


def _dtype_of(array: Any) -> Any:
    return inspection.class_attribute(type(array), "dtype").__get__(array)


def _shape(array: Any) -> tuple[int, ...]:
    found = array_shape(array)
    if found is None:
        raise Unreadable
    return found


def _array(array: Any, row: int | None = None) -> Any:
    if numpy_name(type(array)) != "ndarray":
        raise Unreadable
    if row is not None and len(_shape(array)) == 2:
        array = inspection.class_attribute(type(array), "__getitem__")(array, row)
    if len(_shape(array)) != 1:
        raise Unreadable
    return array


def _numbers(array: Any) -> list[int]:
    found: list[int] = inspection.class_attribute(type(_array(array)), "tolist")(array)
    return found


def _of_manager(table: Table, name: Literal["axes", "blocks"]) -> Any:
    """What the manager of a table holds: of a DataFrame in C slots, of a Series in its instance dict."""
    if table.is_series:
        return _held(table.manager, name)
    return _asked(_pandas().axes if name == "axes" else _pandas().blocks, table.manager)


def _held(value: Any, name: str) -> Any:
    own = inspection.instance_dict(value)
    if own is None or name not in own:
        raise Unreadable
    return own[name]


def _asked(reader: Any, value: Any) -> Any:
    try:
        return reader(value)
    except (TypeError, AttributeError):  # of another class than pandas' own, or not filled
        raise Unreadable from None
