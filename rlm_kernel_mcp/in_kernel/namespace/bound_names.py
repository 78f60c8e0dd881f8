"""Which names a step bound or rebound.

Is: a comparison of the namespace before and after, and a reading of the step's own statements. Is not: a wall; the
kernel can report what it likes. Above: `in_kernel/ipython/kernel.py`. Below: nothing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

HIDDEN: Final = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
_HIDDEN_PATTERN: Final = re.compile(r"__\w+__|_{1,3}|_i{1,3}|_i?\d+|_[iod]h|_exit_code")


def is_shell_name(name: object) -> bool:
    """Whether a name of the namespace is the shell's own and not a step's."""
    if type(name) is not str or name in HIDDEN:
        return True
    return name.startswith("_") and _HIDDEN_PATTERN.fullmatch(name) is not None


def identities(user_ns: Mapping[str, Any]) -> dict[str, int]:
    """The identity of each value before a step; numbers, so that no value is kept alive by them."""
    return {name: id(value) for name, value in dict(user_ns).items()}


def bound_names(code: str | ast.Module, before: Mapping[str, int], user_ns: Mapping[str, Any], ok: bool) -> list[str]:
    """The names that a step bound or rebound, in the order of the namespace.

    A name counts when its value is another object than before, and, if the step ended well, when a statement that
    must have run binds it (rebinding to an equal small number leaves the same object). Names that are gone do not.

    Args:
        code: the step's source, or its tree.
        before: `identities` before the step.
        user_ns: the namespace after it.
        ok: whether the step ended without an exception.
    """
    surely = set(_surely_bound(_statements(code))) if ok else set()
    return [
        name
        for name, value in dict(user_ns).items()
        if (name in surely or before.get(name) != id(value)) and not is_shell_name(name)
    ]


def _statements(code: str | ast.Module) -> list[ast.stmt]:
    if isinstance(code, ast.Module):
        return code.body
    try:
        return ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Magics are not Python, and a step may be too deep to parse here: identity alone then decides.
        return []


def _surely_bound(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """Names bound by statements that run whenever the step ends well."""
    for statement in statements:
        match statement:
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                for item in items:
                    if item.optional_vars is not None:
                        yield from _targets(item.optional_vars)
                yield from _surely_bound(body)
            case ast.Try(finalbody=finalbody) | ast.TryStar(finalbody=finalbody):
                yield from _surely_bound(finalbody)
            case _:
                yield from _bound_by(statement)


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.Assign(targets=targets):
            for target in targets:
                yield from _targets(target)
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
            yield from _targets(target)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
        case _:
            pass


def _targets(target: ast.expr) -> Iterator[str]:
    match target:
        case ast.Name(id=name):
            yield name
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            for element in elements:
                yield from _targets(element)
        case ast.Starred(value=value):
            yield from _targets(value)
        case _:
            pass
