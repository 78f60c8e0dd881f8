"""pandas' classes, and the readers of what its C code holds, as they were before any user code.

Is: taken once, where pandas has been preloaded and holds its tables in the way that is read here. Is not: the reading
(`reading.py`). Above: `reading.py`, `writing.py`. Below: pandas, if it is there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Final

_FREQUENCIES: Final = (
    "Day", "Hour", "Minute", "Second", "Milli", "Micro", "Nano", "BusinessDay", "MonthEnd", "MonthBegin",
)  # fmt: skip
"""Distances of times whose names have nothing in them but a letter or two."""


class Unreadable(Exception):
    """A table, or a part of it, is held in a way that is not read here."""


@dataclass(frozen=True, slots=True)
class Known:
    """The classes by which a value's type is told, exactly; and readers, each of which takes an object."""

    frame: type
    series: type
    range_index: type
    multi_index: type
    indexes: tuple[type, ...]
    categorical: type
    texts: tuple[type, ...]
    times: tuple[type, ...]
    masked: tuple[type, ...]
    text_type: type
    zoned_type: type
    types: dict[int, str]
    missing: Any
    no_time: Any
    frequencies: dict[int, str]
    blocks: Any
    axes: Any
    values: Any
    places: Any
    as_array: Any
    ndarray: Any
    dtype: Any
    multiple: Any


_known: Final[list[Known]] = []


def note() -> None:
    """Take them. A pandas that is made otherwise (older than 3, or of a later day) is left alone."""
    pandas: Any = sys.modules.get("pandas")
    if pandas is None or _known:
        return
    try:
        _known.append(_taken(pandas))
    except (ImportError, AttributeError, KeyError):
        return


def _taken(pandas: Any) -> Known:
    from pandas._libs import arrays, internals
    from pandas._libs.tslibs import offsets

    made = pandas.arrays
    return Known(
        frame=pandas.DataFrame,
        series=pandas.Series,
        range_index=pandas.RangeIndex,
        multi_index=pandas.MultiIndex,
        indexes=(pandas.Index, pandas.DatetimeIndex, pandas.TimedeltaIndex, pandas.CategoricalIndex),
        categorical=pandas.Categorical,
        texts=(made.StringArray, made.NumpyExtensionArray),
        times=(made.DatetimeArray, made.TimedeltaArray),
        masked=(made.IntegerArray, made.FloatingArray, made.BooleanArray),
        text_type=pandas.StringDtype,
        zoned_type=pandas.DatetimeTZDtype,
        types={id(cls): name for name, cls in _types(pandas).items()},
        missing=pandas.NA,
        no_time=pandas.NaT,
        frequencies={id(cls): cls._prefix for cls in (getattr(offsets, name) for name in _FREQUENCIES)},
        blocks=vars(internals.BlockManager)["blocks"].__get__,
        axes=vars(internals.BlockManager)["axes"].__get__,
        values=vars(internals.Block)["values"].__get__,
        places=vars(internals.Block)["_mgr_locs"].__get__,
        as_array=vars(internals.BlockPlacement)["as_array"].__get__,
        ndarray=vars(arrays.NDArrayBacked)["_ndarray"].__get__,
        dtype=vars(arrays.NDArrayBacked)["_dtype"].__get__,
        multiple=vars(offsets.BaseOffset)["n"].__get__,
    )


def _types(pandas: Any) -> dict[str, type]:
    """pandas' own dtypes whose name is always the same."""
    sizes = {
        f"{kind}{bits}": getattr(pandas, f"{kind}{bits}Dtype") for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)
    }
    floats = {f"Float{bits}": getattr(pandas, f"Float{bits}Dtype") for bits in (32, 64)}
    return {**sizes, **floats, "boolean": pandas.BooleanDtype, "category": pandas.CategoricalDtype}


def known() -> Known | None:
    """What was taken; None where pandas was not preloaded."""
    return _known[0] if _known else None


def is_table(value: Any) -> bool:
    """Whether it is exactly a DataFrame or a Series."""
    return bool(_known) and (type(value) is _known[0].frame or type(value) is _known[0].series)
