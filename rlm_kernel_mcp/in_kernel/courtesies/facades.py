"""What is special about the facades of some modules: names left out, names that are looked up, stand-ins.

Is: data and small functions, by module. Is not: the making of facades (`imports.py`). A courtesy.
Above: `imports.py`. Below: `builtins_policy.py`.
"""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.courtesies.builtins_policy import refusing_stand_in, scratch_open

SYS: Final = frozenset({
    "api_version", "byteorder", "copyright", "exc_info", "exception", "exit", "flags", "float_info", "float_repr_style",
    "get_int_max_str_digits", "getdefaultencoding", "getfilesystemencoding", "getrecursionlimit", "getrefcount",
    "getsizeof", "hash_info", "hexversion", "implementation", "int_info", "intern", "is_finalizing", "maxsize",
    "maxunicode", "platform", "set_int_max_str_digits", "setrecursionlimit", "stderr", "stdin", "stdlib_module_names",
    "stdout", "thread_info", "version", "version_info",
})  # fmt: skip
"""Of `sys`: no modules, frames, traces, import machinery or hooks."""

ONLY: Final[Mapping[str, frozenset[str]]] = {"sys": SYS}
"""Modules of which a facade has these names alone."""

HIDDEN: Final[Mapping[str, frozenset[str]]] = {
    "inspect": frozenset({
        "currentframe", "getargvalues", "getattr_static", "getclosurevars", "getframeinfo", "getinnerframes",
        "getmembers_static", "getmodule", "getouterframes", "modulesbyfile", "stack", "trace",
    }),
    "logging": frozenset({"currentframe"}),
    "traceback": frozenset({"walk_stack", "walk_tb"}),
}  # fmt: skip
"""Names that a facade does not have: they hand out frames, and with them the whole interpreter."""


def stand_ins(module: str, scratch: str) -> dict[str, Any]:
    """What a module's facade has instead of the real names. `scratch`: the directory where `open` works."""
    make = _STAND_INS.get(module)
    return {} if make is None else make(scratch)


def _refused_files(module: str, *names: str) -> dict[str, Any]:
    return {
        name: refusing_stand_in(f"{module}.{name}", "open() reads and writes files in the scratch directory")
        for name in names
    }


def _futures(scratch: str) -> dict[str, Any]:
    """The executors, which `concurrent.futures` imports only on demand; one of them cannot work here."""
    del scratch
    instead = "no process can be started in a session; use ThreadPoolExecutor"
    return {
        "ThreadPoolExecutor": concurrent.futures.ThreadPoolExecutor,
        "ProcessPoolExecutor": refusing_stand_in("ProcessPoolExecutor", instead),
    }


def _wrappers(scratch: str) -> dict[str, Any]:
    """`functools.wraps` and `update_wrapper` without the copying of a function's globals."""
    del scratch

    def update_wrapper(
        wrapper: Any,
        wrapped: Any,
        assigned: Sequence[str] = functools.WRAPPER_ASSIGNMENTS,
        updated: Sequence[str] = functools.WRAPPER_UPDATES,
    ) -> Any:
        assigned, updated = tuple(assigned), tuple(updated)
        if "__globals__" in assigned + updated:
            raise AttributeError("update_wrapper() copies no __globals__ in this session", name="__globals__")
        return functools.update_wrapper(wrapper, wrapped, assigned, updated)

    def wraps(
        wrapped: Any,
        assigned: Sequence[str] = functools.WRAPPER_ASSIGNMENTS,
        updated: Sequence[str] = functools.WRAPPER_UPDATES,
    ) -> Callable[[Any], Any]:
        return functools.partial(update_wrapper, wrapped=wrapped, assigned=assigned, updated=updated)

    return {"update_wrapper": update_wrapper, "wraps": wraps}


_STAND_INS: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "codecs": lambda _: _refused_files("codecs", "open"),
    "concurrent.futures": _futures,
    "functools": _wrappers,
    "io": lambda scratch: {"open": scratch_open(scratch)} | _refused_files("io", "FileIO", "open_code"),
    "tokenize": lambda _: _refused_files("tokenize", "open"),
}
