"""The text of a value that is not JSON: like `repr`, made from what the value holds and with none of its code run.

Is: the containers, and `ClassName(attribute=...)` for objects of any class. Is not: `repr`, since what an object's
class would say of itself is not asked; nor the types that are listed in `type_writers.py`.
Above: `values.py`. Below: `type_writers.py`, `library_writers.py`, `value_text.py`, `inspection.py`.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import inspection
from rlm_kernel_mcp.in_kernel.display_text.library_writers import library_value
from rlm_kernel_mcp.in_kernel.display_text.type_writers import BASES, EXACT
from rlm_kernel_mcp.in_kernel.display_text.value_text import TextBuilder

CLASSES_KEPT: Final = 1_000
CLASS_WORK: Final = 100
"""What reading one class counts for, in characters."""
INSTANCE_WORK: Final = 30
"""What reading one instance counts for, in characters."""

Slots = list[tuple[str, types.MemberDescriptorType]]


class ObjectText(TextBuilder):
    """Structural text of any value."""

    def __init__(self) -> None:
        super().__init__()
        self.own = True
        """Whether all of it is the values' own text: false where an object whose class was not asked is in it."""
        self._slots: dict[int, tuple[type, Slots]] = {}

    def write(self, value: Any) -> None:
        """Write any value; dispatches on its type alone, never on what it says of itself."""
        cls = type(value)
        # By id: a dict look-up by the class itself would call its metaclass's `__hash__` and `__eq__`.
        writer = EXACT.get(id(cls))
        if writer is not None:
            writer(self, value)
        elif issubclass(cls, type):
            self.put(f"<class '{inspection.class_name(value)}'>")
        elif type(cls) is enum.EnumType:
            self._enum_member(value)
        elif not library_value(self, value) and not any(write(self, value) for write in FURTHER):
            for base, write in BASES:
                if issubclass(cls, base):
                    write(self, value, inspection.type_name(value))
                    return
            self._instance(value)

    def bracketed(self, value: Any, edges: tuple[str, str], items: Iterable[Any], count: Callable[[], int]) -> None:
        """Write a container's items between its brackets."""
        self._container(value, edges, items, count, self.write)

    def mapping(self, value: Any, edges: tuple[str, str], pairs: Iterable[Any]) -> None:
        """Write a dict's items between its brackets."""
        self._container(value, edges, pairs, lambda: dict.__len__(value), self._pair)

    def named(self, value: Any, name: str, fields: Iterable[tuple[str, Any]], count: int) -> None:
        """Write `name(field=..., ...)`."""
        self._container(value, (f"{name}(", ")"), fields, lambda: count, self._field)

    def _container(
        self,
        value: Any,
        edges: tuple[str, str],
        items: Iterable[Any],
        count: Callable[[], int],
        write: Callable[[Any], None],
    ) -> None:
        opening, closing = edges
        self.put(opening)
        if self.enter(value):
            self.items(items, count, write)
            self.leave(value)
        else:
            self.put("...")
        self.parts.append(closing)

    def _pair(self, pair: tuple[Any, Any]) -> None:
        self.write(pair[0])
        self.put(self.colon)
        self.write(pair[1])

    def _field(self, field: tuple[str, Any]) -> None:
        self.put(f"{field[0][: inspection.NAME_CHARS]}=")
        self.write(field[1])

    def _instance(self, value: Any) -> None:
        name = inspection.type_name(value)
        self.own = False
        self.left -= INSTANCE_WORK
        held, count = inspection.attributes(value, self._slots_of(type(value)))
        if not inspection.is_of_the_session(type(value)):
            shown = [(name, attribute) for name, attribute in held if not name.startswith("_")]
            held, count = shown, count - len(held) + len(shown)
        if count:
            self.named(value, name, held, count)
        else:
            self.put(f"<{name} object>")

    def _enum_member(self, value: Any) -> None:
        held = inspection.instance_dict(value) or {}
        name = held.get("_name_")
        member = f".{inspection.exact(name)}" if name is not None else ""
        self.put(f"<{inspection.type_name(value)}{member}: ")
        self.write(held.get("_value_"))
        self.put(">")

    def _slots_of(self, cls: type) -> Slots:
        # The class is kept beside the result, so that its id is not used again for another.
        known = self._slots.get(id(cls))
        if known is None:
            self.left -= CLASS_WORK
            known = cls, inspection.slots(cls)
            if len(self._slots) < CLASSES_KEPT:
                self._slots[id(cls)] = known
        return known[1]


FURTHER: Final[list[Callable[[ObjectText, Any], bool]]] = []
"""Writers of values of libraries, added before any user code; each writes a value, or says that it is none of its."""


def object_text(value: Any) -> tuple[str, bool, bool]:
    """A value's structural text, at most about `WORK_CHARS` characters; whether it leaves nothing out, and is `own`."""
    text = ObjectText()
    text.write(value)
    return text.text(), text.whole, text.own
