"""Fields that several messages of a kernel have, each checked on its own.

Is: type, size and count of one field. Is not: a message (`messages.py`), nor whether its sender is to be believed.
Above: `reply.py`, `snapshot_report.py`, `answers.py`, `session/kernels/variables.py`. Below: nothing.
"""

from __future__ import annotations

from typing import Final

NAME_CHARS_MAX: Final = 200
"""Characters kept of a name or a type's name: a kernel may give any, of any length."""
COUNT_MAX: Final = 1 << 53
"""Below it every whole number is a number in JSON too."""


def count_of(value: object) -> int | None:
    """A count; None where the value is not one."""
    return value if type(value) is int and 0 <= value < COUNT_MAX else None


def name_row(row: object) -> tuple[str, str, int | None] | None:
    """Name, type and size of one variable; None where a kernel sent something else."""
    if not isinstance(row, list) or len(row) != 3 or not isinstance(row[0], str) or not isinstance(row[1], str):
        return None
    return row[0][:NAME_CHARS_MAX], row[1][:NAME_CHARS_MAX], count_of(row[2])
