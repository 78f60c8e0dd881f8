"""The functions that a session's code may call: what whoever opens the session says of them, and the record has.

Is: plain data, and its way into the session's record and back. Is not: a function: those are in the process of whoever
drives the session, and never in this one. Above: `session/`, `server/`. Below: `questions_wire.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.questions_wire import ASKING, CALLING

RECORDED: Final = "host_functions"
"""Under which a session's record has them, beside what is said there of its contexts."""


@dataclass(frozen=True, slots=True)
class HostFunction:
    """One function on offer."""

    name: str
    description: str = ""


def recorded(functions: Iterable[HostFunction]) -> dict[str, Any]:
    """What the record has of them: nothing where there are none."""
    rows = [[one.name, one.description] for one in functions]
    return {RECORDED: rows} if rows else {}


def of_record(reference: Mapping[str, Any]) -> tuple[HostFunction, ...]:
    """The functions of a record."""
    return tuple(HostFunction(str(name), str(description)) for name, description in reference.get(RECORDED, ()))


def names_to_ask(*, is_answered: bool, functions: Collection[HostFunction]) -> tuple[str, ...]:
    """The names with which the code of a session asks somebody. Where nobody is asked they are free."""
    return (*(ASKING if is_answered else ()), *(CALLING if functions else ()))


def listed(functions: Iterable[HostFunction]) -> str:
    """Their names, for a message."""
    return ", ".join(one.name for one in functions)
