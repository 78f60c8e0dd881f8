"""The texts of a column's values and of an index' labels, as a table has them.

Is: numbers with as many digits as the column needs, times with as many parts, what is missing in pandas' words.
Is not: the table (`layout.py`). Above: `layout.py`. Below: `reading.py`, `dtypes.py`, `known.py`, `answer_text.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import library_values
from rlm_kernel_mcp.in_kernel.display_text.answer_text import answer_text
from rlm_kernel_mcp.in_kernel.tables import dtypes, reading
from rlm_kernel_mcp.in_kernel.tables.known import known
from rlm_kernel_mcp.in_kernel.tables.reading import Axis, Column

CELL_CHARS: Final = 50
"""Longest cell of a table (pandas' option display.max_colwidth), with the space before it."""
LABEL_CHARS: Final = 1_000
"""Longest label of a Series, which pandas does not cut at all."""
DIGITS: Final = 6
TIMES: Final = "mM"
_PER_SECOND: Final = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
_DAY: Final = 86_400

Text = Callable[[Any], str]
"""The text of one object in a cell."""
Parts = Sequence[slice]
"""Which of a column's values are shown."""


def letter_of(axis: Axis) -> str:
    """The kind of what is shown, as `reading.kind`."""
    if type(axis) is range:
        return "i"
    assert isinstance(axis, Column)
    return reading.kind(axis.values) if axis.names is None else letter_of(axis.names)


def cells(axis: Axis, parts: Parts, text_of: Text, lead: str = " ") -> list[str]:
    """The values' texts, not yet cut. `lead`: what stands before one that has no sign; times have nothing there."""
    if type(axis) is range:
        return [_led(str(value), lead) for part in parts for value in axis[part]]
    assert isinstance(axis, Column)
    values = [value for part in parts for value in reading.part(axis.values, part)]
    letter = letter_of(axis)
    if axis.names is not None:
        found = [_named(axis.names, code) for code in values]
        texts = iter(_plain(axis.names, letter, [one[0] for one in found if one], text_of, lead))
        missing = _missing(axis, letter, lead)
        return [next(texts) if one else missing for one in found]
    if axis.mask is not None:
        gaps = [gap for part in parts for gap in reading.part(axis.mask, part)]
        return [f"{lead}<NA>" if gap else _cell(value, text_of, lead) for value, gap in zip(values, gaps, strict=True)]
    return _plain(axis, letter, values, text_of, lead)


def cut(text: str) -> str:
    """A cell, at most as long as one is shown."""
    return text if len(text) <= CELL_CHARS else f"{text[: CELL_CHARS - 3]}..."


def _missing(axis: Column, letter: str, lead: str) -> str:
    """pandas' words for a code that stands for nothing: in a column of categories, or in one of several levels."""
    names = axis.names
    assert names is not None
    if letter in TIMES:
        return "NaT"
    if axis.dtype:
        return "NaN" if letter == "f" or not reading.length(names) else f"{lead}NaN"
    dtype = reading.dtype_name(names)
    if dtype in ("str", "category"):
        return f"{lead}nan"
    return f"{lead}{'NaN' if dtype.islower() and dtype not in ('string', 'boolean') else '<NA>'}"


def _named(names: Axis, code: int) -> tuple[Any] | None:
    """The value that a code stands for; None for "missing"."""
    if not 0 <= code < reading.length(names):
        return None
    if type(names) is range:
        return (names[code],)
    assert isinstance(names, Column)
    (value,) = reading.part(names.values, slice(code, code + 1))
    return (value,) if names.names is None else _named(names.names, value)


def _plain(axis: Axis, letter: str, values: list[Any], text_of: Text, lead: str) -> list[str]:
    if letter == "f":
        return _floats(values, lead)
    if letter == "M":
        return _times(values, axis.zone if isinstance(axis, Column) else None)
    if letter == "m":
        return _durations(values)
    if letter in "iu":
        return [_led(str(value), lead) for value in values]
    return [_cell(value, text_of, lead) for value in values]


def _led(number: str, lead: str) -> str:
    return number if number.startswith("-") else lead + number


def _cell(value: Any, text_of: Text, lead: str) -> str:
    """One value of any type: a `str` as it is, on one line."""
    cls = type(value)
    if issubclass(cls, str):
        text = str.__str__(value)
    elif cls is float:
        if value != value:  # noqa: PLR0124  (what is not a number is no other either)
            return f"{lead}NaN"
        return _led(_trimmed([f"{value:.{DIGITS}f}"])[0], lead)
    else:
        text = _marker(value) or dtypes.dtype_text(value) or answer_text(value) or text_of(value)
    text = text[: LABEL_CHARS + 1].replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return lead + (text if len(text) <= LABEL_CHARS else f"{text[: LABEL_CHARS - 3]}...")


def _marker(value: Any) -> str:
    """pandas' words for what is missing."""
    pandas = known()
    if pandas is None:
        return ""
    return "<NA>" if value is pandas.missing else "NaT" if value is pandas.no_time else ""


def _floats(values: list[float], lead: str) -> list[str]:
    texts = ["NaN" if value != value else _led(f"{value:.{DIGITS}f}", lead) for value in values]  # noqa: PLR0124
    texts = _trimmed(texts)
    sizes = [abs(value) for value in values if value == value]  # noqa: PLR0124  (as above)
    small = any(0 < size < 10**-DIGITS for size in sizes)
    long = max(map(len, texts), default=0) > DIGITS + 6
    if small or (long and any(size > 1e6 for size in sizes)):
        return ["NaN" if value != value else _led(f"{value:.{DIGITS}e}", lead) for value in values]  # noqa: PLR0124
    return texts


def _trimmed(texts: list[str]) -> list[str]:
    """Without the zeros at the end that all of them have, but for one behind the point."""
    numbers = [text for text in texts if "." in text]
    spare = min((len(text) - len(text.rstrip("0")) for text in numbers), default=0)
    spare = min(spare, DIGITS - 1)
    return [text[: len(text) - spare] if "." in text else text for text in texts]


def _times(values: list[Any], zone: dt.tzinfo | None) -> list[str]:
    """Times with as many digits as one of them needs; without a zone days alone, if all are midnights."""
    texts = [library_values.time_text(value) or "NaT" for value in values]
    parted = [text.partition(".") if text != "NaT" else ("NaT", "", "") for text in texts]
    needed = max((len(fraction.rstrip("0")) for _, _, fraction in parted), default=0)
    digits = -(-needed // 3) * 3
    clocks = [clock for clock, _, _ in parted if clock != "NaT"]
    if zone is None and not digits and all(clock.partition("T")[2] in ("", "00:00:00") for clock in clocks):
        return [clock.partition("T")[0] if clock != "NaT" else clock for clock, _, _ in parted]
    shown = []
    for clock, _, fraction in parted:
        there = clock if zone is None or clock == "NaT" else _in_zone(clock, zone)
        digit = f".{fraction:0<{digits}}"[: digits + 1] if digits and clock != "NaT" else ""
        shown.append(there if clock == "NaT" else there[:19].replace("T", " ") + digit + there[19:])
    return shown


def _in_zone(clock: str, zone: dt.tzinfo) -> str:
    """A time in a zone, with its offset. `zone` is of a class whose C code nobody can change."""
    try:
        return dt.datetime.fromisoformat(clock).replace(tzinfo=dt.UTC).astimezone(zone).isoformat()
    except (ValueError, OverflowError):  # a year that Python's dates do not have
        return f"{clock}+00:00"


def _durations(values: list[Any]) -> list[str]:
    """Durations as days and a time: days alone if all are whole days, else with the digits that one of them needs."""
    texts = [(library_values.time_text(value) or "?").partition(" ") for value in values]
    found = [None if unit not in _PER_SECOND else (int(count), _PER_SECOND[unit]) for count, _, unit in texts]
    known_ones = [one for one in found if one is not None]
    if all(count % (_DAY * each) == 0 for count, each in known_ones):
        return ["NaT" if one is None else f"{one[0] // (_DAY * one[1])} days" for one in found]
    fractions = [f"{count % each * (10**9 // each):09d}" for count, each in known_ones]
    digits = 9 if any(fraction[6:].strip("0") for fraction in fractions) else 6 if any(map(int, fractions)) else 0
    return ["NaT" if one is None else _duration(*one, digits) for one in found]


def _duration(count: int, each: int, digits: int) -> str:
    seconds, rest = divmod(count, each)
    days, seconds = divmod(seconds, _DAY)
    fraction = f".{rest * (10**9 // each):09d}"[: digits + 1] if digits else ""
    sign = "+" if days < 0 else ""
    return f"{days} days {sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"
