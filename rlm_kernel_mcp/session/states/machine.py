"""State machines that are tables. Sans-I/O.

Is: the one way from a state to the next. Is not: a table (`lifecycle.py`, `session/snapshots/states.py`).
Above: whoever has a table. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


class ImpossibleEvent(Exception):
    """An event came in a state whose row in the table does not have it: the code and the table have drifted apart.

    It is a bug of ours, whatever a kernel or a client does. It is logged where the task ends.
    """


def state_after(table: Mapping[S, Mapping[E, S]], state: S, event: E) -> S:
    """The state to which an event leads.

    Raises:
        ImpossibleEvent: the table does not have it.
    """
    try:
        return table[state][event]
    except KeyError:
        raise ImpossibleEvent(f"{event.name} in state {state.name} of {type(state).__name__}") from None
