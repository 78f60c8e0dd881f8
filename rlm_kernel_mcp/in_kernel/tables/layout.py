"""The text of a table as `print` of it has it: pandas' defaults, with none of pandas' Python code run.

Is: head and tail, widths, the lines of an index of several levels, columns that go on further down where they do not
fit 80 characters. Is not: the cells (`cells.py`), nor pandas' options, which a step may set: they are not asked.
Above: `writing.py`. Below: `cells.py`, `reading.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.tables import reading
from rlm_kernel_mcp.in_kernel.tables.cells import CELL_CHARS, TIMES, Parts, Text, cells, cut, letter_of
from rlm_kernel_mcp.in_kernel.tables.known import Unreadable
from rlm_kernel_mcp.in_kernel.tables.reading import Axis, Column, Table

ROWS: Final = 60
"""Rows that are shown whole (pandas' option display.max_rows); of a longer table the first and last `ENDS`."""
ENDS: Final = 5
COLUMNS: Final = 20
"""Columns that are shown (pandas' option display.max_columns, where there is no terminal)."""
WIDTH: Final = 80
"""Characters of a line (pandas' option display.width)."""
LISTED: Final = 100
"""Labels of an empty table that are shown."""
CATEGORIES: Final = 8
"""Categories that are shown whole (pandas' option display.max_categories)."""
NUMBERS: Final = "iufcb"

Lines = list[str]


def table_text(value: Any, text_of: Text) -> str | None:
    """A DataFrame's or Series' text; None where its parts are not read. `text_of`: the text of an object in a cell."""
    try:
        table = Table.of(value)
        axes = reading.axes_of(table)
        return _series(table, axes[0], text_of) if table.is_series else _frame(table, axes, text_of)
    except Unreadable:
        return None


def _series(table: Table, axis: Any, text_of: Text) -> str:
    levels, (column,) = reading.levels_of(axis), reading.columns_of(table, [0])
    count, name = reading.length(levels[0]), reading.name_of(table.value)
    parts = _parts(count, ROWS, ENDS)
    footer = [f"Freq: {kept}"] if (kept := reading.frequency_of(axis)) is not None else []
    footer += [f"Name: {name}"] if name is not None else []
    footer += [f"Length: {count}"] if len(parts) == 2 else []
    last = ", ".join([*footer, f"dtype: {reading.dtype_name(column)}"])
    if column.names is not None:
        last += f"\n{_categories(column, text_of)}"
    if not count:
        return f"Series([], {last})"
    names = reading.names_of(axis)
    if len(levels) == 1:
        heading, labels = names[0], _level(levels[0], parts, text_of)
    else:
        heading, *labels = _joined(_labels(levels, parts, text_of, [name or "" for name in names]), 2)
    texts = _right([cut(cell) for cell in cells(column, parts, text_of)])
    if len(parts) == 2:
        labels.insert(ENDS, "")
        texts.insert(ENDS, ("..." if len(texts[0]) > 3 else "..").center(len(texts[0])))
    lines = _joined([_left(labels), texts], 3)
    head = [heading or ""] if any(name is not None for name in names) else []
    return "\n".join([*head, *lines, last])


def _frame(table: Table, axes: Sequence[Any], text_of: Text) -> str:
    heads, index = reading.levels_of(axes[0]), reading.levels_of(axes[1])
    across, count = reading.length(heads[0]), reading.length(index[0])
    if across > reading.COLUMNS_READ:
        raise Unreadable
    if not count or not across:
        return f"Empty DataFrame\nColumns: {_listed(heads, text_of)}\nIndex: {_listed(index, text_of)}"
    parts, sides = _parts(count, ROWS, ENDS), _parts(across, COLUMNS, COLUMNS // 2)
    wanted = [place for side in sides for place in range(side.start, side.stop)]
    columns = reading.columns_of(table, wanted)
    names = reading.names_of(axes[1])
    named = any(name is not None for name in names)
    labels = _labels(index, parts, text_of, [name or "" for name in names] if named else None)
    shown = _joined([_left([cut(label) for label in level]) for level in labels], 1)
    if len(parts) == 2:
        shown.insert(ENDS + named, "..." if len(shown[-1]) > 3 else "..")
    titles = list(zip(*_labels(heads, sides, text_of, None), strict=True))
    if len(heads) == 1:
        # Of a table with columns left out pandas takes the types of the first columns for those that it shows.
        typed = columns if len(sides) == 1 else reading.columns_of(table, list(range(COLUMNS)))
        titles = [(f" {title}" if _is_number(one) else title,) for (title,), one in zip(titles, typed, strict=True)]
    blocks = [
        _block([*title, ""] if named else list(title), column, parts, text_of)
        for title, column in zip(titles, columns, strict=True)
    ]
    if len(sides) == 2:
        blocks.insert(COLUMNS // 2, [" ..."] * len(blocks[0]))
    first = _left([*(name or "" for name in reading.names_of(axes[0])), *shown])
    text = _wrapped(first, blocks)
    whole = len(parts) == len(sides) == 1
    return text if whole else f"{text}\n\n[{count} rows x {across} columns]"


def _is_number(column: Column) -> bool:
    return column.names is None and reading.kind(column.values) in NUMBERS


def _block(title: Lines, column: Column, parts: Parts, text_of: Text) -> Lines:
    """A column with its head, all of one width."""
    texts = cells(column, parts, text_of, "" if letter_of(column) in TIMES else " ")
    least = max(map(len, title))
    width = min(max(least, *map(len, texts)), CELL_CHARS)
    texts = [cut(text) for text in texts]
    if len(parts) == 2:
        texts.insert(ENDS, "..." if width > 3 else "..")
    # A head that is longer than any cell may be stands out, as it does in pandas.
    return _left([f"{line:>{max(width, least)}}" for line in title] + [f"{text:>{width}}" for text in texts])


def _labels(levels: Sequence[Axis], parts: Parts, text_of: Text, names: Lines | None) -> list[Lines]:
    """The labels of each level, its name first; of several levels what repeats the line before is left out."""
    found = [_level(level, parts, text_of) for level in levels]
    if len(found) > 1:
        rows = list(zip(*found, strict=True))
        found = [list(level) for level in zip(rows[0], *map(_sparse, pairwise(rows)), strict=True)]
    return found if names is None else [[name, *level] for name, level in zip(names, found, strict=True)]


def _level(level: Axis, parts: Parts, text_of: Text) -> Lines:
    """The labels of one level: numbers are of one width, and have a place for a sign where one of them has one."""
    numbers = letter_of(level) in NUMBERS and not (isinstance(level, Column) and level.dtype == "category")
    if not numbers:
        return cells(level, parts, text_of, "")
    texts = cells(level, parts, text_of, "" if type(level) is range else " ")
    while texts and all(text.startswith(" ") for text in texts):
        texts = [text[1:] for text in texts]
    return _left(texts) if texts else []


def _sparse(pair: tuple[tuple[str, ...], tuple[str, ...]]) -> Lines:
    before, line = pair
    same = 0
    while same < len(line) - 1 and before[same] == line[same]:
        same += 1
    return [""] * same + list(line[same:])


def _wrapped(first: Lines, blocks: list[Lines]) -> str:
    """The columns side by side, as many as fit a line; the others go on below, with the index again."""
    room = WIDTH - len(first[0]) - 1
    groups, used = [list[Lines]()], 0
    for place, block in enumerate(blocks):
        width = len(block[0]) + 1
        used += width
        if place and used + (1 if place == len(blocks) - 1 else 2) > room:
            groups.append([])
            used = width
        groups[-1].append(block)
    if len(groups) == 1:
        return "\n".join(_joined([first, *blocks], 1))
    ends = [[" \\", *["  "] * (len(first) - 1)]] * (len(groups) - 1) + [[" "] * len(first)]
    return "\n\n".join("\n".join(_joined([first, *group, end], 1)) for group, end in zip(groups, ends, strict=True))


def _categories(column: Column, text_of: Text) -> str:
    """What a column of categories says of them below its values."""
    names = column.names
    assert names is not None
    count, between = reading.length(names), " < " if column.ordered else ", "
    parts = _parts(count, CATEGORIES, CATEGORIES // 2)
    texts = [text.strip() for text in cells(names, parts, text_of)]
    if letter_of(names) not in NUMBERS:
        texts = [f"'{text}'" if letter_of(names) == "O" else text for text in texts]
    if len(parts) == 2:
        texts.insert(CATEGORIES // 2, "...")
    head = f"Categories ({count}, {reading.dtype_name(names)}): "
    found, used = "", len(head)
    for place, text in enumerate(texts):
        if used + len(between) + len(text) > WIDTH:
            found += f"{between.rstrip()}\n{' ' * (len(head) + 1)}"
            used = len(head) + 1
        elif place:
            found += between
            used += len(between)
        found += text
        used += len(text)
    return f"{head}[{found.replace(' < ... < ', ' ... ')}]"


def _listed(levels: Sequence[Axis], text_of: Text) -> str:
    """The labels of an empty table's index or columns."""
    count = reading.length(levels[0])
    rows = list(zip(*(cells(level, [slice(0, min(count, LISTED))], text_of, "") for level in levels), strict=True))
    texts = [row[0] if len(levels) == 1 else f"({', '.join(row)})" for row in rows]
    return f"[{', '.join(texts)}{', ...' if count > LISTED else ''}]"


def _parts(count: int, most: int, ends: int) -> list[slice]:
    return [slice(0, count)] if count <= most else [slice(0, ends), slice(count - ends, count)]


def _left(texts: Lines) -> Lines:
    width = max(map(len, texts))
    return [f"{text:<{width}}" for text in texts]


def _right(texts: Lines) -> Lines:
    width = max(map(len, texts))
    return [f"{text:>{width}}" for text in texts]


def _joined(blocks: Sequence[Lines], space: int) -> Lines:
    return [(" " * space).join(line) for line in zip(*map(_left, blocks), strict=True)]
