"""Reads variables of a live kernel over its control channel, also while a step runs.

Is: the request, its bounds, and what a caller is shown. Is not: a step: nothing of the user's code runs for it; nor the
checks on what comes back (`kernel/untrusted/`). Above: `session/session.py`, `session/finalize.py`. Below: `kernel/`,
`text/safe_text.py`.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput, KernelDied, VariableNotFound
from rlm_kernel_mcp.kernel.client import MESSAGE_BYTES_MAX
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.answers import is_ok, variable_of, variables_in
from rlm_kernel_mcp.kernel.untrusted.fields import NAME_CHARS_MAX
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.values import JSON_EXPANSION, decode, json_value, parsed
from rlm_kernel_mcp.session.kernels.not_own import NO_ANSWER, not_own
from rlm_kernel_mcp.session.reports import VariableSlice
from rlm_kernel_mcp.text.markup import word
from rlm_kernel_mcp.text.safe_text import safe_prefix, safe_text
from rlm_kernel_mcp.text.surrogates import CALL_BYTES
from rlm_kernel_mcp.text.wording import counted
from rlm_kernel_mcp.wire import GET_VAR, NAMES, GetVarReply, GetVarRequest

READ_TIMEOUT_S: Final = 10.0
"""A kernel in one long C call answers when that call ends; past this the caller gets an error that says so."""
NEAREST: Final = 5
COMPARED_CHARS: Final = 40
"""Characters of a name that are compared in a search for similar names: the cost grows with their square."""
ANSWER_BYTES_MAX: Final = 24 << 20
"""Bytes of a final answer as a kernel sends it, which may need six for a character."""

Read = Callable[[Kernel, str, int, int, Mapping[str, str]], Awaitable[VariableSlice]]
"""`get_variable`, or another way to read one."""
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


async def get_variable(
    kernel: Kernel, name: str, offset: int, limit: int, gone: Mapping[str, str] = NOTHING
) -> VariableSlice:
    """A slice of a variable. `gone`: what became of names that are no more.

    Raises:
        VariableNotFound: no such name; the message has the nearest ones.
        KernelDied: the kernel is gone, or did not answer in time.
    """
    # One character more than is shown tells whether two that belong together would be separated.
    request: GetVarRequest = {"name": name, "offset": offset, "limit": limit + 1, "as_text": False}
    reply = await ask(kernel, GET_VAR, request)
    if not is_ok(reply.content):
        raise await _not_found(kernel, name, gone)
    payload, said = reply.buffers[0] if reply.buffers else b"", variable_of(reply.content)
    type_name, size, total = _type_name(said), said["size"], said["total_chars"]
    text = await _decoded(payload)
    if said["json"]:
        whole, value = json_value(text, limit)
        if whole:
            return VariableSlice(name, type_name, size, value, False, total, offset, None, False)
        text = value
    shown, covered = _page(text, limit)
    end = offset + covered
    more = covered > 0 and end < total
    following, cut = end if more else None, more or offset > 0
    note = None if said["own"] else not_own(name, type_name)[1]
    if offset > total:
        note = f"Nothing is there: the value has {counted(total, 'character')}, and offset is {offset:,}."
    return VariableSlice(name, type_name, size, shown, True, total, offset, following, cut, note)


async def raw_variable(
    kernel: Kernel, name: str, offset: int, limit: int, gone: Mapping[str, str] = NOTHING, *, as_text: bool
) -> VariableSlice:
    """As `get_variable`, for a program: the value, or only its text, with nothing in it made safe to show."""
    request: GetVarRequest = {"name": name, "offset": offset, "limit": limit, "as_text": as_text}
    reply = await ask(kernel, GET_VAR, request, ANSWER_BYTES_MAX)
    if not is_ok(reply.content):
        raise await _not_found(kernel, name, gone)
    payload, said = reply.buffers[0] if reply.buffers else b"", variable_of(reply.content)
    type_name, size, total = _type_name(said), said["size"], said["total_chars"]
    text = (await _decoded(payload))[: JSON_EXPANSION * limit]
    if said["json"]:
        try:
            value = await asyncio.to_thread(parsed, text)
        except (ValueError, RecursionError):
            pass  # then it is a text, in which can be seen what is wrong with it
        else:
            return VariableSlice(name, type_name, size, value, False, total, offset, None, False)
    text = text[:limit]
    end = offset + len(text)
    more = bool(text) and end < total
    note = None if said["own"] else not_own(name, type_name)[1]
    return VariableSlice(
        name, type_name, size, text, True, total, offset, end if more else None, more or offset > 0, note
    )


async def read_text(
    kernel: Kernel, name: str, limit: int, gone: Mapping[str, str] = NOTHING, most: int = 0
) -> str | None:
    """A variable's whole text: a `str` as it is, any other value as it is shown.

    None: it has more than `limit` characters, which go into a message, and at most `most`.

    Raises:
        InvalidInput: it is longer, or has no text that is its own.
        VariableNotFound, KernelDied: as `get_variable`.
    """
    request: GetVarRequest = {"name": name, "offset": 0, "limit": limit + 1, "as_text": True}
    reply = await ask(kernel, GET_VAR, request, ANSWER_BYTES_MAX)
    if not is_ok(reply.content):
        raise await _not_found(kernel, name, gone)
    said = variable_of(reply.content)
    kind = _type_name(said)
    if not said["own"] or kind in NO_ANSWER:
        what, _, bind = not_own(name, kind)
        raise InvalidInput(
            f"{name} {what}; no final answer was taken.",
            f"Bind {bind} in a step and finalize with that, or give final_text.",
        )
    text = await _decoded(reply.buffers[0] if reply.buffers else b"")
    total = max(len(text), said["total_chars"])
    if total <= limit and said["whole"]:
        return text
    most = max(limit, most)
    if total <= most and said["whole"]:
        return None
    fault = f"{name} has {total:,} characters; a final answer has at most {most:,}."
    if total <= most:
        fault = f"{name} is so large that its text leaves parts out, after {total:,} characters."
    raise InvalidInput(fault, "Bind the answer alone to a name, best as a str, and finalize with that.")


async def list_names(kernel: Kernel) -> list[tuple[str, str, int | None]]:
    """The user's names with types and sizes."""
    reply = await ask(kernel, NAMES, {})
    return variables_in(reply.buffers)


async def ask(
    kernel: Kernel, msg_type: str, content: Mapping[str, object], reply_bytes_max: int = MESSAGE_BYTES_MAX
) -> Message:
    """The reply to a request that costs a kernel a moment, also in the middle of a step. Raises: KernelDied."""
    asked = asyncio.ensure_future(kernel.client.request(msg_type, content, reply_bytes_max=reply_bytes_max))
    try:
        # Not `asyncio.timeout`: if this process was stopped for longer than that, the answer is there when it goes on.
        await asyncio.wait({asked}, timeout=READ_TIMEOUT_S)
        if asked.done():
            return asked.result()
    finally:
        asked.cancel()
    raise KernelDied(
        f"The kernel did not answer within {READ_TIMEOUT_S:.0f} s: it is in one long call of C code, or its step has "
        "left it no memory.",
        "Wait for the step with rlm_await_step, or stop it with rlm_interrupt, then ask again.",
    )


async def _not_found(kernel: Kernel, name: str, gone: Mapping[str, str]) -> VariableNotFound:
    names = [row[0] for row in await list_names(kernel)]
    near = await asyncio.to_thread(_nearest, name, names)
    if near:
        hint = f"nearest: {', '.join(map(word, near))}"
    elif names:
        hint = f"there are: {', '.join(map(word, names[:20]))}"
    else:
        hint = "no name is bound yet"
    fate = f": {gone[name]}" if name in gone else ""
    return VariableNotFound(safe_text(f"There is no variable {name!r} in this session{fate}; {hint}."))


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    by_start = {other[:COMPARED_CHARS]: other for other in names}
    return [by_start[start] for start in difflib.get_close_matches(name[:COMPARED_CHARS], by_start, NEAREST, 0.5)]


def _page(text: str, limit: int) -> tuple[str, int]:
    """A safe beginning of some text within `limit` characters, and how many of its characters that covers.

    At least one, so that the reader gets on: one whose escape does not fit is shown as U+FFFD.
    """
    shown, covered = safe_prefix(text, limit)
    return (shown, covered) if covered or not text else ("\ufffd", 1)


async def _decoded(payload: bytes) -> str:
    """The text of an answer; a large one is read in a thread, since lone surrogates take long."""
    return await asyncio.to_thread(decode, payload) if len(payload) > CALL_BYTES else decode(payload)


def _type_name(said: GetVarReply) -> str:
    """The name of a value's type: a kernel may give any, and the safe form may be longer."""
    return safe_text(said["type"])[:NAME_CHARS_MAX]
