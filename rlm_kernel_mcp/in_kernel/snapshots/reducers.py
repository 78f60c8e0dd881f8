"""What the standard library's factories make, and neither pickle nor cloudpickle writes by value.

Is: NewType, ParamSpec, TypeVarTuple, TypedDict, type aliases, enums, single dispatch, cached properties, sort keys,
matches, structs, context variables, the qualified name of a class. Is not: any other class or function, which
`pickling.py` and cloudpickle write. Above: `pickling.py`. Below: `instance_reducers.py`, cloudpickle.
"""

from __future__ import annotations

import contextvars
import enum
import functools
import gc
import re
import struct
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

from cloudpickle import cloudpickle

from rlm_kernel_mcp.in_kernel.snapshots.instance_reducers import (
    Causes,
    reduce_exception,
    reduce_frozen,
    reduce_member,
    with_chain,
)

Reduced = tuple[Any, ...]

_EXTRA: Final = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})
"""What each enum member has; the rest is what the session's class gave it."""
_TYPED_DICT_FACTS: Final = (
    "__total__", "__required_keys__", "__optional_keys__", "__readonly_keys__", "__mutable_keys__",
    "__module__", "__qualname__", "__doc__", "__orig_bases__",
)  # fmt: skip
_NOTHING: Final = "rlm: not set"


def _named_elsewhere(thing: Any) -> bool:
    """Whether a module of a library holds the object under its name, so that the name is enough."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "__main__")
    return module is not None and module.__name__ != "__main__" and getattr(module, thing.__name__, None) is thing


def _tracked(make: Callable[..., Any], thing: Any, *arguments: Any) -> Reduced:
    """Make one object for all names that hold it, as cloudpickle does with classes."""
    return _once, (cloudpickle._get_or_create_tracker_id(thing), make, arguments)


# cloudpickle's private table of classes, so that an object which two names share is one object after a restore as well.
def _once(tracker_id: str, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(tracker_id)
    return known if known is not None else cloudpickle._lookup_class_or_track(tracker_id, make(*arguments))


def _by_name_or(reduce: Callable[[Any], Reduced]) -> Callable[[Any], Any]:
    return lambda thing: thing.__name__ if _named_elsewhere(thing) else reduce(thing)


def _new_type(thing: Any) -> Reduced:
    return _tracked(_make_new_type, thing, thing.__name__, thing.__supertype__, thing.__module__)


def _make_new_type(name: str, supertype: Any, module: str) -> Any:
    make: Any = typing.NewType
    made = make(name, supertype)
    # NewType takes the module from the calling frame, which is this one.
    made.__module__ = module
    return made


def _param_spec(thing: Any) -> Reduced:
    return _tracked(
        _make_param_spec, thing, thing.__name__, thing.__bound__, thing.__covariant__, thing.__contravariant__
    )


def _make_param_spec(name: str, bound: Any, covariant: bool, contravariant: bool) -> Any:
    make: Any = typing.ParamSpec
    return make(name, bound=bound, covariant=covariant, contravariant=contravariant)


def _type_alias(thing: Any) -> Reduced:
    return _tracked(_make_type_alias, thing, thing.__name__, thing.__value__, thing.__type_params__)


def _make_type_alias(name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    return vars(typing)["TypeAliasType"](name, value, type_params=parameters)


def _typed_dict(cls: Any) -> Reduced:
    facts = {name: getattr(cls, name) for name in _TYPED_DICT_FACTS if hasattr(cls, name)}
    return _tracked(
        _make_typed_dict, cls, cls.__name__, dict(cls.__annotations__), getattr(cls, "__parameters__", ()), facts
    )


def _make_typed_dict(name: str, fields: dict[str, Any], parameters: tuple[Any, ...], facts: dict[str, Any]) -> Any:
    bases: tuple[Any, ...] = (typing.TypedDict,)
    if parameters:
        generic: Any = typing.Generic
        # `TypedDict` itself refuses to be called with type parameters.
        bases += (generic[parameters],)
    made = types.new_class(
        name, bases, {"total": facts.get("__total__", True)}, lambda space: space.update(__annotations__=fields)
    )
    for fact, value in facts.items():
        setattr(made, fact, value)
    return made


def reduce_enum(cls: Any, reduced: Reduced) -> Reduced:
    """cloudpickle's reduction of an enum, with what the class's own constructor gave its members.

    A value that is a function would be a method of the new class and no member, but for being called one.
    """
    if len(reduced) != 6:
        return reduced
    given = {
        member.name: {name: value for name, value in vars(member).items() if name not in _EXTRA}
        for member in cls.__members__.values()
    }
    make, (bases, name, qualname, members, *rest), state, items, pairs, set_state = reduced
    marked = {name: enum.member(value) if hasattr(value, "__get__") else value for name, value in members.items()}
    arguments = (bases, name, qualname, marked, *rest)
    if not any(given.values()):
        return make, arguments, state, items, pairs, set_state
    return make, arguments, (set_state, state, given), items, pairs, _set_enum_state


def _set_enum_state(cls: Any, state: tuple[Any, Any, dict[str, dict[str, Any]]]) -> None:
    set_state, own, given = state
    set_state(cls, own)
    for name, attributes in given.items():
        vars(cls.__members__[name]).update(attributes)


def _cached_property(thing: Any) -> Reduced:
    held = {name: value for name, value in vars(thing).items() if name not in ("lock", "func")}
    return functools.cached_property, (thing.func,), held


def _sort_key(thing: Any) -> Reduced:
    """C code gives the key's object; its comparison function is only visible to the garbage collector."""
    # There is no attribute for either; the order of referents is that of CPython's tp_traverse.
    compare, *held = [part for part in gc.get_referents(thing) if part is not type(thing)]
    return _make_sort_key, (compare, *held)


def _make_sort_key(compare: Any, *held: Any) -> Any:
    key = functools.cmp_to_key(compare)
    return key(*held) if held else key


def reduce_dispatch(function: Any) -> Reduced:
    """A function of `functools.singledispatch`, with what was registered."""
    registry = dict(function.registry)
    return _make_dispatch, (registry.pop(object),), (registry, _own_attributes(function)), None, None, _set_dispatch


def _own_attributes(function: Any) -> dict[str, Any]:
    made = ("register", "dispatch", "registry", "_clear_cache", "__wrapped__")
    return {name: value for name, value in vars(function).items() if name not in made}


def _make_dispatch(default: Any) -> Any:
    return functools.singledispatch(default)


def _set_dispatch(function: Any, state: tuple[dict[type, Any], dict[str, Any]]) -> None:
    registry, attributes = state
    vars(function).update(attributes)
    for cls, implementation in registry.items():
        function.register(cls, implementation)


def _match(match: re.Match[Any], own_value: Callable[[Any], Any]) -> Reduced:
    return _make_match, (match.re, own_value(match.string), match.span(), match.endpos)


def _make_match(pattern: re.Pattern[Any], text: Any, span: tuple[int, int], end: int) -> Any:
    """Find the match again, from where it began."""
    # `match` at the old start, so that a match further left does not win; groups follow from the pattern.
    found = pattern.match(text, span[0], end)
    if found is None or found.span() != span:
        raise ValueError("the pattern does not match again")
    return found


def _variable(variable: contextvars.ContextVar[Any]) -> Reduced:
    try:
        # In an empty context only the default is left.
        default = contextvars.Context().run(variable.get)
    except LookupError:
        return _make_variable, (variable.name, {}, variable.get(_NOTHING))
    return _make_variable, (variable.name, {"default": default}, variable.get())


def _make_variable(name: str, default: dict[str, Any], value: Any) -> Any:
    made: contextvars.ContextVar[Any] = contextvars.ContextVar(name, **default)
    # The type first: comparing runs the value's own `__eq__` (an array's is no truth value).
    if type(value) is not str or value != _NOTHING:
        made.set(value)
    return made


def with_qualified_name(cls: type, reduced: Any) -> Any:
    """A class's reduction with its qualified name, which its `repr` shows if it was made in a class or function."""
    if type(reduced) is tuple and len(reduced) == 6 and cls.__qualname__ != cls.__name__:
        # The state's first part is the class's own dict, which cloudpickle sets attribute by attribute.
        reduced[2][0]["__qualname__"] = cls.__qualname__
    return reduced


DISPATCH_CODE: Final = functools.singledispatch(len).__code__  # type: ignore[attr-defined]  # it is a function

BY_TYPE: Final[Mapping[type, Callable[[Any], Any]]] = {
    typing.NewType: _by_name_or(_new_type),
    typing.ParamSpec: _by_name_or(_param_spec),
    typing.TypeVarTuple: _by_name_or(lambda thing: _tracked(typing.TypeVarTuple, thing, thing.__name__)),
    functools.cached_property: _cached_property,
    type(functools.cmp_to_key(len)): _sort_key,  # type: ignore[arg-type]
    struct.Struct: lambda thing: (struct.Struct, (thing.format,)),
    contextvars.ContextVar: _variable,
    **({vars(typing)["TypeAliasType"]: _by_name_or(_type_alias)} if "TypeAliasType" in vars(typing) else {}),
}

KNOWN_TYPES: Final = frozenset({*BY_TYPE, re.Match})
"""Types whose instances are written here, beside classes, functions and exceptions."""
_typed_dict_maker: Any = typing.TypedDict
TYPED_DICT: Final = type(_typed_dict_maker("_", {}))


def reduce_known(
    thing: Any, own_value: Callable[[Any], Any], by_cloudpickle: Callable[[Any], Any], causes: Causes
) -> Any:
    """How an object of these types is written; NotImplemented for any other.

    Args:
        thing: any object.
        own_value: gives what stands for a value that the fresh kernel's session has anyway.
        by_cloudpickle: cloudpickle's own answer.
        causes: what becomes of the errors that an exception came from.
    """
    cls = type(thing)
    reduced: Any = NotImplemented
    if cls in BY_TYPE:
        reduced = BY_TYPE[cls](thing)
    elif cls is re.Match:
        reduced = _match(thing, own_value)
    elif cls is types.FunctionType and thing.__code__ is DISPATCH_CODE:
        reduced = reduce_dispatch(thing)
    elif cls is TYPED_DICT and not _named_elsewhere(thing):
        reduced = _typed_dict(thing)
    elif issubclass(cls, enum.EnumMeta):
        reduced = by_cloudpickle(thing)
        reduced = reduce_enum(thing, reduced) if type(reduced) is tuple else reduced
    elif issubclass(cls, type):
        reduced = with_qualified_name(thing, by_cloudpickle(thing))
    elif issubclass(cls, enum.Enum):
        reduced = reduce_member(thing)
    elif issubclass(cls, BaseException):
        own = isinstance(cls.__init__, types.FunctionType)
        reduced = with_chain(thing, reduce_exception(thing) if own else reduced, causes)
    elif isinstance(cls.__setattr__, types.FunctionType):
        reduced = reduce_frozen(thing)
    return reduced
