"""A table as a value's text: where `rlm_get_var` and a final answer meet one, alone or in another value.

Is: what `object_text.py` is told of tables, once pandas has been preloaded. Is not: the text (`layout.py`).
Above: `in_kernel/preload.py`. Below: `layout.py`, `known.py`, `object_text.py`.
"""

from __future__ import annotations

from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text.object_text import FURTHER, ObjectText
from rlm_kernel_mcp.in_kernel.tables import known
from rlm_kernel_mcp.in_kernel.tables.layout import table_text

TABLE_WORK: Final = 10_000
"""What reading one table counts for, in characters."""
CELL_WORK: Final = 100
"""How far the text of an object in a cell is made, of which fewer characters are shown."""


def note() -> None:
    """Have tables written from now on, where pandas is there and holds them in a way that is read."""
    known.note()
    if known.known() is not None and write_table not in FURTHER:
        FURTHER.append(write_table)


def write_table(text: ObjectText, value: Any) -> bool:
    """Write it as it is printed, which says of itself what it does not show; whether it is one that can be read."""

    def of_cell(held: Any) -> str:
        cell = ObjectText()
        cell.left = min(CELL_WORK, text.left)
        cell.write(held)
        text.own &= cell.own
        return cell.text()

    if not known.is_table(value):
        return False
    own = text.own
    text.left -= TABLE_WORK
    found = table_text(value, of_cell)
    if found is None:
        text.own = own
        return False
    text.put(found)
    return True
