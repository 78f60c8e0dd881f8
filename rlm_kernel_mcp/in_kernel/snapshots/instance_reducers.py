"""Instances of a session's classes that pickle's own form would bring back changed, or not at all.

Is: exceptions, with what they came from; members of enums; what forbids setting its attributes. Is not: classes and
functions (`reducers.py`, `pickling.py`). Above: `reducers.py`. Below: the standard library.
"""

from __future__ import annotations

import enum
import types
from dataclasses import dataclass
from typing import Any, Final

NAME_CHARS: Final = 100


@dataclass(slots=True)
class Causes:
    """What is done with the errors that the exceptions of one value came from."""

    kept: bool = True
    """False where one of them cannot be written: then the exceptions are kept without them, and each says so."""
    met: bool = False
    """Whether there was any."""


def reduce_exception(error: BaseException) -> Any:
    """An exception of the session's own class from what it holds, without its constructor, which may want more."""
    cls = type(error)
    base = next(base for base in cls.__mro__ if not isinstance(vars(base).get("__init__"), types.FunctionType)
                and base.__module__ == "builtins")  # fmt: skip
    ways: Any = cls
    if ways.__reduce__ is not base.__reduce__ or ways.__reduce_ex__ is not object.__reduce_ex__:
        return NotImplemented
    arguments = base.__reduce__(error)[1]
    return _make_exception, (cls, base, arguments), dict(vars(error)), None, None, _set_exception_state


def _make_exception(cls: type[BaseException], base: Any, arguments: tuple[Any, ...]) -> Any:
    made = base.__new__(cls, *arguments)
    base.__init__(made, *arguments)
    return made


def _set_exception_state(error: BaseException, state: dict[str, Any]) -> None:
    vars(error).update(state)


def with_chain(error: BaseException, reduced: Any, causes: Causes) -> Any:
    """An exception's reduction with the errors that it came from, which pickle leaves out, or with a note on them."""
    chain = (error.__cause__, error.__context__, error.__suppress_context__)
    if chain[0] is None and chain[1] is None and not chain[2]:
        return reduced
    causes.met = True
    if reduced is NotImplemented:
        reduced = error.__reduce_ex__(2)
    if type(reduced) is not tuple or not 2 <= len(reduced) <= 6:
        return reduced
    make, arguments, state, items, pairs, set_state = reduced + (None,) * (6 - len(reduced))
    if causes.kept:
        return make, arguments, (set_state, state, chain), items, pairs, _set_chain
    return make, arguments, (set_state, state, chain[2], _note_of(*chain[:2])), items, pairs, _set_note


def _note_of(cause: BaseException | None, context: BaseException | None) -> str:
    gone = {"__cause__": cause, "__context__": context}
    named = [f"{name} ({type(one).__name__[:NAME_CHARS]})" for name, one in gone.items() if one is not None]
    return f"[{' and '.join(named)} of this error cannot be kept, and did not come back with it]" if named else ""


def _set_note(error: BaseException, given: tuple[Any, Any, bool, str]) -> None:
    set_state, state, suppressed, note = given
    _set_chain(error, (set_state, state, (None, None, suppressed)))
    if note:
        BaseException.add_note(error, note)


def _set_chain(error: BaseException, given: tuple[Any, Any, tuple[Any, Any, bool]]) -> None:
    set_state, state, chain = given
    if set_state is not None:
        set_state(error, state)
    elif state is not None:
        error.__setstate__(state)
    error.__cause__, error.__context__, error.__suppress_context__ = chain


def reduce_member(member: enum.Enum) -> Any:
    """Reduce a member to its name: its value may be a function or `nan`, by which a fresh class would not find it.

    A flag's value is a number, and its combinations are not members.
    """
    cls = type(member)
    if isinstance(member, enum.Flag) or cls.__reduce_ex__ is not enum.Enum.__reduce_ex__:
        return NotImplemented
    return _named_member, (cls, member._name_)


def _named_member(cls: Any, name: str) -> Any:
    return cls.__members__[name]


def reduce_frozen(thing: Any) -> Any:
    """An instance with slots whose class refuses to set them, as a frozen one does: its own `__setattr__` is passed."""
    cls: Any = type(thing)
    if cls.__reduce_ex__ is not object.__reduce_ex__ or cls.__reduce__ is not object.__reduce__:
        return NotImplemented
    reduced = thing.__reduce_ex__(2)
    if hasattr(cls, "__setstate__") or type(reduced[2]) is not tuple:
        return NotImplemented
    return *reduced, *(None,) * (5 - len(reduced)), _set_slots


def _set_slots(thing: object, state: tuple[dict[str, Any] | None, dict[str, Any]]) -> None:
    attributes, slots = state
    if attributes:
        vars(thing).update(attributes)
    for name, value in slots.items():
        object.__setattr__(thing, name, value)
