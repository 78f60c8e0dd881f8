"""Reads variables of a live kernel over its control channel, also while a step runs.

Is: the request, its bounds, and the checks on what comes back. Is not: a step: nothing of the user's code runs for it.
Above: `session.py`. Below: `kernel/`, `cutting.py`.
"""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Sequence
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelDied, VariableNotFound
from rlm_kernel_mcp.kernel.client import MESSAGE_BYTES_MAX
from rlm_kernel_mcp.kernel.launch import Kernel
from rlm_kernel_mcp.kernel.messages import BadMessage, Message, parse_json
from rlm_kernel_mcp.session.cutting import safe_prefix, safe_text
from rlm_kernel_mcp.session.shapes import VariableSlice
from rlm_kernel_mcp.wire import GET_VAR, NAMES

READ_TIMEOUT_S: Final = 10.0
"""A kernel in one long C call answers when that call ends; past this the caller is told so."""
NEAREST: Final = 5
NAMES_MAX: Final = 2_000
NAME_CHARS_MAX: Final = 200
COMPARED_CHARS: Final = 40
"""Of a name, when the nearest to a missing one are looked for: the comparison's cost grows with its square."""
ANSWER_BYTES_MAX: Final = 24 << 20
"""Of a final answer in the kernel's own words, which may need six bytes for a character."""


async def get_variable(kernel: Kernel, name: str, offset: int, limit: int) -> VariableSlice:
    """A slice of a variable.

    Raises:
        VariableNotFound: no such name; the message has the nearest ones.
        KernelDied: the kernel is gone, or did not answer in time.
    """
    reply = await _ask(kernel, GET_VAR, {"name": name, "offset": offset, "limit": limit})
    content = reply.content
    if content.get("status") != "ok":
        raise await _not_found(kernel, name)
    payload = reply.buffers[0] if reply.buffers else b""
    type_name = safe_text(_text(content.get("type")))[:200]
    size, total = _count(content.get("size")), _count(content.get("total_chars")) or 0
    if content.get("json") is True:
        whole, value = _json_value(payload, limit)
        if whole:
            return VariableSlice(name, type_name, size, value, False, total, offset, None, False)
    text = _decode(payload)
    shown, covered = safe_prefix(text[:limit], limit)
    end = offset + covered
    more = end < total and covered > 0
    cut = more or offset > 0
    return VariableSlice(name, type_name, size, shown, True, max(total, end), offset, end if more else None, cut)


async def read_text(kernel: Kernel, name: str, limit: int) -> str:
    """A variable's whole text, at most `limit` characters of it: a `str` as it is, anything else as it is shown.

    Raises: as `get_variable`.
    """
    reply = await _ask(kernel, GET_VAR, {"name": name, "offset": 0, "limit": limit}, ANSWER_BYTES_MAX)
    if reply.content.get("status") != "ok":
        raise await _not_found(kernel, name)
    payload = reply.buffers[0] if reply.buffers else b""
    if reply.content.get("json") is True and payload.startswith(b'"'):
        value = _string(payload)
        if value is not None:
            return value[:limit]
    return _decode(payload)[:limit]


async def list_names(kernel: Kernel) -> list[tuple[str, str, int | None]]:
    """The user's names with types and sizes."""
    reply = await _ask(kernel, NAMES, {})
    try:
        rows = parse_json(reply.buffers[0]) if reply.buffers else []
    except BadMessage:
        return []
    if not isinstance(rows, list):
        return []
    return [
        (row[0][:NAME_CHARS_MAX], row[1][:NAME_CHARS_MAX], _count(row[2]))
        for row in rows[:NAMES_MAX]
        if isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and isinstance(row[1], str)
    ]


async def _ask(
    kernel: Kernel, msg_type: str, content: dict[str, Any], reply_bytes_max: int = MESSAGE_BYTES_MAX
) -> Message:
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            return await kernel.client.request(msg_type, content, reply_bytes_max=reply_bytes_max)
    except TimeoutError:
        raise KernelDied(
            f"The kernel did not answer within {READ_TIMEOUT_S:.0f} s: it is in one long call of C code.",
            "Wait for the step with rlm_await_step, or stop it with rlm_interrupt, then ask again.",
        ) from None


async def _not_found(kernel: Kernel, name: str) -> VariableNotFound:
    names = [row[0] for row in await list_names(kernel)]
    near = await asyncio.to_thread(_nearest, name, names)
    if near:
        hint = f"nearest: {', '.join(near)}"
    elif names:
        hint = f"there are: {', '.join(names[:20])}"
    else:
        hint = "no name is bound yet"
    return VariableNotFound(safe_text(f"There is no variable {name!r} in this session; {hint}."))


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    by_start = {other[:COMPARED_CHARS]: other for other in names}
    return [by_start[start] for start in difflib.get_close_matches(name[:COMPARED_CHARS], by_start, NEAREST, 0.5)]


def _string(payload: bytes) -> str | None:
    """The text in a JSON string; None if it is none."""
    try:
        value = json.loads(_decode(payload))
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _json_value(payload: bytes, limit: int) -> tuple[bool, Any]:
    """(whole, value) of a JSON text from the kernel, with every string in it safe to show."""
    try:
        text = _decode(payload)
        if len(text) > limit + 2:  # the quotes of a string
            return False, None
        value = json.loads(text, parse_constant=_no_constant)
        return True, _safe_value(value)
    except (ValueError, RecursionError):
        return False, None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _safe_value(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, list):
        return [_safe_value(item) for item in value]
    if isinstance(value, dict):
        return {safe_text(key): _safe_value(item) for key, item in value.items()}
    return value


def _decode(payload: bytes) -> str:
    try:
        return payload.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return payload.decode("utf-8", "replace")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 53 else None
