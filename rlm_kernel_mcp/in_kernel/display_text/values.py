"""Views of the session's variables, for the control thread.

Is: type, size and a slice of the text of a value, with none of the value's own code run (its `repr`, `len`, `==` and
its metaclass may hang, lie or raise) and with bounded work. Is not: a wall; a hostile kernel can answer anything.
Above: `in_kernel/ipython/control.py`, `in_kernel/ipython/kernel.py`. Below: `value_text.py`, `object_text.py`,
`answer_text.py`, `inspection.py`.
"""

from __future__ import annotations

import array
import collections
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text.answer_text import answer_text
from rlm_kernel_mcp.in_kernel.display_text.inspection import NAME_CHARS, type_name
from rlm_kernel_mcp.in_kernel.display_text.library_values import array_shape
from rlm_kernel_mcp.in_kernel.display_text.object_text import object_text
from rlm_kernel_mcp.in_kernel.display_text.value_text import CompactJsonText, json_text
from rlm_kernel_mcp.in_kernel.namespace.bound_names import is_shell_name
from rlm_kernel_mcp.in_kernel.namespace.documents import Documents, held_names
from rlm_kernel_mcp.in_kernel.namespace.live_facade import LiveFacade

# Static types only: `issubclass` of an ABC such as `Documents` would ask the class's metaclass.
_SIZES: Final[tuple[tuple[type, Callable[[Any], int]], ...]] = (
    (str, str.__len__),
    (list, list.__len__),
    (dict, dict.__len__),
    (tuple, tuple.__len__),
    (set, set.__len__),
    (frozenset, frozenset.__len__),
    (bytes, bytes.__len__),
    (bytearray, bytearray.__len__),
    (collections.deque, collections.deque.__len__),
    (array.array, array.array.__len__),
)

_NO_VALUES: Final = frozenset(
    map(id, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType, LiveFacade))
)
"""Types whose text only names something that could give a value."""


@dataclass(frozen=True, slots=True)
class View:
    """What `rlm_get_var_request` is answered about a value.

    `payload` is UTF-8 (lone surrogates passed): with `json` the whole JSON text of the value, else the characters
    `[offset, offset + limit)` of its text, which has `total_chars` characters. `whole`: the text leaves nothing out.
    `own`: it is a value itself, and holds no object whose text only its class's own code could make.
    """

    type: str
    size: int | None
    json: bool
    total_chars: int
    payload: bytes
    whole: bool = True
    own: bool = True


def _own_text(value: Any, as_text: bool) -> tuple[str, bool, bool]:
    """As `object_text`, except that a single value as an answer is its `str`."""
    alone = answer_text(value) if as_text else None
    if alone is not None:
        return alone, True, True
    text, whole, own = object_text(value)
    return text, whole, own and id(type(value)) not in _NO_VALUES


def describe(value: object) -> tuple[str, int | None]:
    """A value's type name, and `len()` where the type is a built-in container or text (or a subclass of one)."""
    return type_name(value), _size(value)


def view(value: Any, offset: int, limit: int, *, as_text: bool = False) -> View:
    """A value as JSON if it is JSON without loss, begins at 0 and fits; else, or `as_text`, a slice of its text.

    Args:
        value: any object.
        offset: first character of the text that is wanted.
        limit: how many characters are wanted.
        as_text: never as JSON.
    """
    offset, limit = max(0, offset), max(0, limit)
    shown_type, size = describe(value)
    whole = own = True
    if issubclass(type(value), str):
        total, may_be_json = str.__len__(value), True
        part = str.__getitem__(value, slice(offset, offset + limit))
    else:
        as_json = json_text(value)
        text, whole, own = (*as_json, True) if as_json is not None else _own_text(value, as_text)
        total, may_be_json = len(text), as_json is not None and whole
        part = text[offset : offset + limit]
    compact = _compact(value) if may_be_json and not as_text and offset == 0 and total <= limit else None
    if compact is not None:
        return View(shown_type, size, True, total, compact.encode())
    return View(shown_type, size, False, total, part.encode("utf-8", "surrogatepass"), whole, own)


def list_names(user_ns: Mapping[Any, Any], hidden: Mapping[Any, Any]) -> list[tuple[str, str, int | None]]:
    """(name, type, size) of each name of a namespace, without the shell's own (`hidden`, where unchanged)."""
    return [
        (name[:NAME_CHARS], *describe(value))
        for name, value in dict(user_ns).items()
        if not is_shell_name(name) and not (name in hidden and hidden[name] is value)
    ]


def _size(value: object) -> int | None:
    cls = type(value)
    for base, size in _SIZES:
        if issubclass(cls, base):
            return size(value)
    if type(value) is Documents:
        return len(held_names(value))
    if shape := array_shape(value):
        return shape[0]
    if type(value) is range:
        return max(0, (value.stop - value.start + value.step - (1 if value.step > 0 else -1)) // value.step)
    return None


def _compact(value: object) -> str | None:
    # Made a second time: the running step may have changed the value meanwhile, and then there is only this text.
    made = json_text(value, CompactJsonText)
    return made[0] if made is not None and made[1] else None
