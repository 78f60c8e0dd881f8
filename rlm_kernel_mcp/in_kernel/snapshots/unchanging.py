"""Values that cannot change, which are known to be what they were without a look into them.

Is: which those are, and by what each is known again. Is not: the sending of them (`taking.py`).
Above: `taking.py`. Below: `pickling.py`, for how modules are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.snapshots.pickling import MODULES

ATOMS: Final = frozenset((str, bytes, int, float, complex, bool, type(None), range, *MODULES))
"""Types whose values never change. A module is imported again, whatever is in it."""
HELD_BYTES_MAX: Final = 1 << 16
"""A value of at most this size is kept alive, to be known again: its `id` alone may be another object's by then."""

Print = tuple[type, int, int]
"""What a large value is known by beside its `id`: it is not kept alive, since memory is what the names hold."""


class Nothing:
    """Stands where no value is kept alive; None would be a value."""


def is_unchanging(value: object) -> bool:
    """Whether nothing in a value can change: it is an atom, or a tuple or frozenset of such. It was written before."""
    if type(value) in ATOMS:
        return True
    left, seen = [value], set[int]()
    while left:
        one: Any = left.pop()
        if type(one) is tuple or type(one) is frozenset:
            if id(one) not in seen:
                seen.add(id(one))
                left += one
        elif type(one) not in ATOMS:
            return False
    return True


def print_of(value: Any) -> Print | None:
    """The print of a large atom; None for what has none. A text keeps its hash: only the first time takes long."""
    kind = type(value)
    if kind is str or kind is bytes:
        return kind, len(value), hash(value)
    return (kind, value.bit_length(), hash(value)) if kind is int else None


@dataclass(slots=True)
class Sent:
    """What was last sent of a name."""

    identity: int
    digest: bytes
    bytes: int
    held: object = Nothing
    """The value itself, where it is small and cannot change."""
    print: Print | None = None
    """What identifies it, where it is large and cannot change."""

    def was(self, value: object) -> bool:
        """Whether it was this value, which cannot have changed."""
        if self.held is value:
            return True
        return self.print is not None and self.identity == id(value) and self.print == print_of(value)
