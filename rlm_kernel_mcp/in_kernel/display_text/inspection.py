"""Reading an object without running any of its code.

Is: C-level slots and descriptors of the built-in types, taken once, before user code can rebind anything. Is not:
`getattr`, `isinstance`, `len` or `repr` of a foreign object, all of which call into its class or metaclass.
Neither wall nor courtesy: it keeps the control thread from being hung or lied to by a value that it describes.
Above: `object_text.py`, `type_writers.py`, `library_values.py`, `values.py`. Below: nothing.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

NAME_CHARS: Final = 200
"""Longest name of a type, function or module that is shown."""

ATTRIBUTES: Final = 1_000
"""How many attributes of one object are shown."""

# Getters of `type` itself: `cls.__name__` would go through a metaclass first, which may run code.
_type_name: Final = type.__dict__["__name__"].__get__
_type_qualname: Final = type.__dict__["__qualname__"].__get__
_type_module: Final = type.__dict__["__module__"].__get__
_type_mro: Final = type.__dict__["__mro__"].__get__
_type_dict: Final = type.__dict__["__dict__"].__get__
_type_flags: Final = type.__dict__["__flags__"].__get__
_DESCRIPTORS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)
# Bits of tp_flags (Include/object.h), the same since CPython 3.10.
HEAP_TYPE: Final = 1 << 9
"""Flag of a type that was made by a class statement or in the same way (Py_TPFLAGS_HEAPTYPE)."""
_IMMUTABLE_TYPE: Final = 1 << 8
_VARARGS, _VARKEYWORDS = 4, 8


def exact(text: Any) -> str:
    """A str of exactly that type, cut to a name's length, from a str of any subclass; "?" from anything else."""
    if type(text) is str:
        return text[:NAME_CHARS]
    return str.__str__(text)[:NAME_CHARS] if issubclass(type(text), str) else "?"


def type_name(value: object) -> str:
    """The name of a value's type, as `type(value).__name__` where that would be honest."""
    return exact(_type_name(type(value)))


def class_name(cls: type) -> str:
    """Module and qualified name of a class; built-in classes without the module."""
    module, name = _type_module(cls), _type_qualname(cls)
    if type(module) is not str or module == "builtins":
        return exact(name)
    return f"{exact(module)}.{exact(name)}"


def is_of_the_session(cls: type) -> bool:
    """Whether a step defined a class, as far as it says so; the private attributes of a library's class tell nobody."""
    own = _type_module(cls)
    return type(own) is str and own == "__main__"


def is_immutable(cls: type) -> bool:
    """Whether nobody can change a class's attributes."""
    return not _type_flags(cls) & HEAP_TYPE or bool(_type_flags(cls) & _IMMUTABLE_TYPE)


def static_name(cls: type, module: str) -> str | None:
    """The name of a class that C code of this module defines, whose attributes nobody can change; else None.

    A class that Python code makes is a heap type, whatever it calls itself.
    """
    own = _type_module(cls)
    if _type_flags(cls) & HEAP_TYPE or type(own) is not str or own != module:
        return None
    return exact(_type_name(cls))


def class_attribute(cls: type, name: str) -> Any:
    """What the class or one of its bases defines under a name, unbound; None if nothing."""
    for base in _type_mro(cls):
        namespace = _type_dict(base)
        if name in namespace:
            return namespace[name]
    return None


def instance_dict(value: object) -> Mapping[Any, Any] | None:
    """The instance's own attribute dict, past any property or `__getattribute__`; None if it has none."""
    for base in _type_mro(type(value)):
        descriptor = _type_dict(base).get("__dict__")
        if type(descriptor) in _DESCRIPTORS and descriptor.__objclass__ is base:
            found = descriptor.__get__(value)
            return found if type(found) is dict else None
    return None


def slots(cls: type) -> list[tuple[str, types.MemberDescriptorType]]:
    """The `__slots__` of a class and its bases, base first, each with its reader."""
    readers = []
    for base in reversed(_type_mro(cls)):
        if _type_flags(base) & HEAP_TYPE:
            for name, member in dict(_type_dict(base)).items():
                if type(member) is types.MemberDescriptorType and type(name) is str and member.__objclass__ is base:
                    readers.append((name, member))
    return readers


def attributes(
    value: object, readers: list[tuple[str, types.MemberDescriptorType]]
) -> tuple[list[tuple[str, Any]], int]:
    """The attributes that an instance itself holds, in its slots and its dict, without dunder names.

    Returns:
        The first `ATTRIBUTES` of them, and how many there are.
    """
    held = []
    for name, member in readers:
        # An unset slot has no value to show.
        with contextlib.suppress(AttributeError):
            held.append((name, member.__get__(value)))
    own = instance_dict(value) or {}
    for name, attribute in list(islice(own.items(), ATTRIBUTES)):
        if type(name) is str and not name.startswith("__"):
            held.append((name, attribute))
    return held[:ATTRIBUTES], len(held) + max(0, len(own) - ATTRIBUTES)


def function_text(function: types.FunctionType) -> str:
    """A function's name and parameters, without their defaults."""
    code = function.__code__
    names = list(code.co_varnames)
    positional, keyword = code.co_argcount, code.co_kwonlyargcount
    shown = names[:positional]
    if code.co_posonlyargcount:
        shown.insert(code.co_posonlyargcount, "/")
    extra = positional + keyword
    if code.co_flags & _VARARGS:
        shown.append("*" + names[extra])
        extra += 1
    elif keyword:
        shown.append("*")
    shown += names[positional : positional + keyword]
    if code.co_flags & _VARKEYWORDS:
        shown.append("**" + names[extra])
    return f"<function {exact(function.__qualname__)}({', '.join(shown)[:1000]})>"


def module_name(module: types.ModuleType) -> str:
    """The name that a module has in its own dict."""
    found = instance_dict(module)
    return exact(found.get("__name__")) if found is not None else "?"
