"""How a value of the session becomes bytes and a value again.

Is: cloudpickle, with functions that keep living in the session's namespace and modules that are imported again. Is not:
the choice of what to keep (`taking.py`). The bytes are read by a fresh kernel of the same session alone, never by the
host. Above: `taking.py`. Below: `reducers.py`, `instance_reducers.py`, `function_lines.py`,
`in_kernel/namespace/live_facade.py`, cloudpickle.
"""

from __future__ import annotations

import enum
import functools
import importlib
import io
import marshal
import pickle
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, Protocol

import cloudpickle

from rlm_kernel_mcp.in_kernel.display_text.inspection import HEAP_TYPE
from rlm_kernel_mcp.in_kernel.namespace.live_facade import LiveFacade
from rlm_kernel_mcp.in_kernel.snapshots.function_lines import lines_of, put_back
from rlm_kernel_mcp.in_kernel.snapshots.instance_reducers import Causes
from rlm_kernel_mcp.in_kernel.snapshots.reducers import KNOWN_TYPES, reduce_known

PROTOCOL: Final = 5

_namespace: dict[str, Any] = {}
"""The session's namespace: the globals of its functions. One kernel, one session, so one module-level name."""
_own_values: dict[str, Any] = {}
_referred: dict[int, str] = {}
"""By identity, the names of the session's own values that are never copied: a mapped context, which is never freed."""
_TURNED_INTO_OTHERS: Final = (memoryview, io.TextIOWrapper)
"""Types that cloudpickle would bring back as something else: as bytes, and as text in memory."""
MODULES: Final = (types.ModuleType, LiveFacade)
"""Written by name."""
_lru_cache: Final[Any] = type(functools.lru_cache(len))


def use_namespace(user_ns: dict[str, Any]) -> None:
    """Say which dict is the session's namespace; call once before any value is written or read."""
    global _namespace  # noqa: PLW0603  (a restored function needs it, and pickle passes it nothing)
    _namespace = user_ns


def use_own_values(values: Mapping[str, Any], mapped: Collection[str] = ()) -> None:
    """Say what the session's own names hold (`offered.py`), as they were bound.

    `mapped`: those whose text has become a mapped file's, which is never copied, whatever it stands in.
    """
    global _own_values, _referred  # noqa: PLW0603  (as above; others, since a snapshot may be going through these)
    _own_values = dict(values)
    _referred = {id(value): name for name, value in values.items() if name in mapped or id(value) in _referred}


def referred() -> Mapping[int, str]:
    """By identity, the names of the session's own values that are never copied."""
    return _referred


class OwnValue:
    """Stands for one of the session's own values to which the user gave a second name: a fresh kernel has it anyway."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        """Come back as what the fresh kernel has under that name."""
        return _own_value, (self._name,)


def _or_own_value(value: object) -> object:
    """The value, or what stands for it if it is the session's own."""
    return next((OwnValue(name) for name, known in _own_values.items() if known is value), value)


class Writable(Protocol):
    """What pickle asks of the file that it writes to."""

    def write(self, data: Any, /) -> Any: ...


class Readable(Protocol):
    """What pickle asks of the file that it reads from."""

    def read(self, count: int = ..., /) -> bytes: ...
    def readline(self) -> bytes: ...


class SessionPickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """Writes one value. A function of the session carries its code and not a copy of the globals that it uses."""

    def __init__(self, file: Writable, protocol: int, causes: Causes) -> None:
        super().__init__(file, protocol=protocol)
        self._causes = causes
        self._ordinary: dict[int, bool] = {}
        """By a class's identity: whether nothing here changes how its instances are written."""
        self._cells: dict[int, _Cell] = {}
        """By a closure cell's identity: what stands for it, once for all functions that share it."""

    def reducer_override(self, obj: Any) -> Any:
        """pickle's hook for every object that has no fast path of its own."""
        # pickle calls this for each instance: one dict look-up instead of ten comparisons.
        ordinary = self._ordinary.get(id(type(obj)))
        if ordinary is None:
            ordinary = self._ordinary[id(type(obj))] = _is_ordinary(type(obj))
        if ordinary:
            return NotImplemented
        return self._reduced(obj)

    def _reduced(self, obj: Any) -> Any:
        if type(obj) is types.FunctionType and obj.__globals__ is _namespace:
            return _reduce_function(obj, [self._cell(cell) for cell in obj.__closure__ or ()])
        if type(obj) in MODULES:
            return _reduce_module(obj)
        if obj is sys.stdout or obj is sys.stderr:
            # By name: a stream of this kernel has sockets and threads, and the fresh one has its own.
            return _own_stream, ("stdout" if obj is sys.stdout else "stderr",)
        if type(obj) in _TURNED_INTO_OTHERS:
            raise pickle.PicklingError(f"cannot keep {type(obj).__name__!r} objects")
        # With an empty cache: its entries would be a copy of everything that was ever computed.
        if type(obj) is _lru_cache:
            return _cache_again, (obj.__wrapped__, *obj.cache_parameters().values()), dict(obj.__dict__)
        known = reduce_known(obj, _or_own_value, super().reducer_override, self._causes)
        return super().reducer_override(obj) if known is NotImplemented else known

    def _cell(self, cell: types.CellType) -> _Cell:
        return self._cells.setdefault(id(cell), _Cell(cell))


class SessionUnpickler(pickle.Unpickler):
    """Reads one value."""

    def persistent_load(self, pid: Any) -> Any:
        """pickle's hook for what was written elsewhere: a mapped context, as the fresh kernel has it."""
        return _own_value(pid)


def _reduce_module(module: types.ModuleType) -> tuple[Any, ...]:
    # A library's own function brings real modules along; what the session itself imports is never one of them.
    if sys.modules.get(module.__name__) is module:
        return importlib.import_module, (module.__name__,)
    return _import_again, (module.__name__, *_modules_below(module))


def _is_ordinary(cls: type) -> bool:
    """Whether a class is a session's or a library's own, and no kind that has a form of its own here."""
    return (
        bool(cls.__flags__ & HEAP_TYPE)
        and not issubclass(cls, (type, BaseException, enum.Enum))
        and not isinstance(cls.__setattr__, types.FunctionType)
        and cls not in KNOWN_TYPES
        and cls not in (*_TURNED_INTO_OTHERS, _lru_cache, type(sys.stdout), LiveFacade)
    )


def read_value(file: Readable) -> Any:
    """The value of the next pickle in a file. It runs the session's own code.

    Raises:
        Exception: whatever that code, or pickle, raises.
    """
    return SessionUnpickler(file).load()


def _reduce_function(function: types.FunctionType, cells: list[_Cell]) -> tuple[Any, ...]:
    state = {
        "defaults": function.__defaults__,
        "kwdefaults": function.__kwdefaults__,
        "attributes": function.__dict__,
        "annotations": function.__annotations__,
        "doc": function.__doc__,
        "qualname": function.__qualname__,
        # In the state and not in the arguments: a function can be in its own closure.
        "closure": [cell.contents() for cell in cells],
    }
    arguments = (marshal.dumps(function.__code__), function.__name__, lines_of(function.__code__), tuple(cells))
    return _make_function, arguments, state, None, None, _set_function_state


class _Empty:
    """Stands for a closure cell without a value."""


class _Cell:
    """Stands for a closure cell: functions of one value that share it share one again, which is empty at first."""

    def __init__(self, cell: types.CellType) -> None:
        self._cell = cell

    def contents(self) -> object:
        try:
            return self._cell.cell_contents
        except ValueError:
            return _Empty

    def __reduce__(self) -> tuple[type[types.CellType], tuple[()]]:
        return types.CellType, ()


def _make_function(
    code_bytes: bytes, name: str, lines: tuple[str, ...], cells: tuple[types.CellType, ...]
) -> types.FunctionType:
    code = marshal.loads(code_bytes)  # noqa: S302  (inside the walls, and the session's own bytes)
    put_back(code, lines)
    return types.FunctionType(code, _namespace, name, None, cells)


def _set_function_state(function: types.FunctionType, state: dict[str, Any]) -> None:
    function.__defaults__ = state["defaults"]
    function.__kwdefaults__ = state["kwdefaults"]
    function.__dict__.update(state["attributes"])
    function.__annotations__ = state["annotations"]
    function.__doc__ = state["doc"]
    function.__qualname__ = state["qualname"]
    for cell, contents in zip(function.__closure__ or (), state["closure"], strict=True):
        if contents is not _Empty:
            cell.cell_contents = contents


def _cache_again(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """A function of `functools.lru_cache`, which pickle would write by name alone; its cache is not kept."""
    return functools.lru_cache(maxsize, typed)(function)


def _own_stream(name: str) -> Any:
    return getattr(sys, name)


def _own_value(name: str) -> Any:
    if name not in _own_values:
        raise LookupError(f"the session's {name} could not be loaded again")
    return _own_values[name]


def _import_again(name: str, *below: str) -> Any:
    """The module as the session's own import gives it: the policy decides again.

    `below`: the modules by which a package is there that only holds them (`os`, of which a session has `os.path`).
    """
    builtins = _namespace["__builtins__"]
    import_: Callable[..., Any] = builtins["__import__"] if isinstance(builtins, dict) else builtins.__import__
    try:
        return import_(name, _namespace, None, ["*"] if "." in name else [])
    except ImportError:
        if not below:
            raise
    packages = [import_(module, _namespace, None, []) for module in below]
    found = packages[0]
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


def _modules_below(module: types.ModuleType) -> Iterator[str]:
    """The names of the innermost facades that a facade holds."""
    for member, value in list(vars(module).items()):
        if type(value) in MODULES and value.__name__ == f"{module.__name__}.{member}":
            yield from list(_modules_below(value)) or [value.__name__]
