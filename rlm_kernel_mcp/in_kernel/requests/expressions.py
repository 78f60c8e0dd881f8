"""The `user_expressions` of an `execute_request`: values that a client wants with the reply to its cell.

Is: their evaluation in the session's namespace, each with its own end, bounded in number and size. Is not: asked for by
the host, whose steps have none. A courtesy to the reply, which must fit a message; not a wall. Above:
`in_kernel/ipython/kernel.py`. Below: `in_kernel/display_text/tracebacks.py`, `in_kernel/channels/packing.py`.
Source: Jupyter messaging 5.5, Execute.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.channels.packing import pack
from rlm_kernel_mcp.in_kernel.display_text.tracebacks import format_exception

EXPRESSIONS_MAX: Final = 1_000
VALUES_BYTES: Final = 2_000_000
"""Characters of all values of one reply together, as JSON."""
PLACE: Final = "<string>"
"""The file name of an expression in its errors, as in IPython."""


def evaluate(shell: Any, expressions: object) -> dict[str, Any]:
    """What each expression shows, or how it failed; the same shapes as IPython's `user_expressions`."""
    if not isinstance(expressions, Mapping):
        return {}
    values: dict[str, Any] = {}
    left = VALUES_BYTES
    for name, expression in list(expressions.items())[:EXPRESSIONS_MAX]:
        value = _value(shell, expression)
        size = len(pack(value))
        if size > left:
            why = f"the value is left out: the values of one reply have room for {VALUES_BYTES:,} bytes"
            value = {"status": "error", "ename": "ValueError", "evalue": why, "traceback": [f"ValueError: {why}"]}
        else:
            left -= size
        values[name] = value
    return values


def _value(shell: Any, expression: object) -> dict[str, Any]:
    try:
        parsed: Any = compile(str(expression).strip(), PLACE, "eval", ast.PyCF_ONLY_AST)
        code: Any = compile(shell.transform_ast(parsed), PLACE, "eval")
        value = eval(code, shell.user_global_ns, shell.user_ns)  # noqa: S307  (as any code of a cell)
        data, metadata = shell.display_formatter.format(value)
    except BaseException as error:  # noqa: BLE001  (also an interrupt is this expression's own end)
        ename, evalue, lines = format_exception(type(error), error, error.__traceback__)
        return {"status": "error", "ename": ename, "evalue": evalue, "traceback": lines}
    return {"status": "ok", "data": data, "metadata": metadata}
