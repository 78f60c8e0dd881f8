"""What a kernel answers to our own requests, checked: from data of anything to the types of `wire.py`.

Is: type, size and count of each field that the host reads. Is not: whether it is true: only a kernel that has run
nobody's code yet is believed. Above: `session/`. Below: `fields.py`, `messages.py`, `wire.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rlm_kernel_mcp.context_wire import ContextGoneReply, LoadContextReply
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.untrusted.fields import NAME_CHARS_MAX, count_of, name_row
from rlm_kernel_mcp.kernel.untrusted.messages import BadMessage, parse_json
from rlm_kernel_mcp.wire import (
    DOCUMENTS_LISTED,
    OFFERED_LINE_CHARS_MAX,
    OFFERED_MAX,
    OFFERED_NAME_CHARS_MAX,
    GetVarReply,
)

IMPORTS_MAX: Final = 10_000
EDGE_CHARS_MAX: Final = 4_000
EVALUE_CHARS_MAX: Final = 500
NAMES_MAX: Final = 2_000
CELLS_MAX: Final = 2_000
CODE_CHARS_MAX: Final = 200_000
"""Limits on a history: the number of its newest cells, and the characters of each one's code."""

Content = Mapping[str, Any]
"""Of a message from a kernel."""


def is_ok(content: Content) -> bool:
    """Whether a request was done."""
    return content.get("status") == "ok"


def is_withdrawn(content: Content) -> bool:
    """Whether the kernel says that a step has not begun and never will."""
    return is_ok(content) and content.get("withdrawn") is True


def failure_of(content: Content) -> tuple[str, str]:
    """Name and words of the exception for which a request was not done; not safe to show yet."""
    return _text(content.get("ename"), NAME_CHARS_MAX), _text(content.get("evalue"), EVALUE_CHARS_MAX)


def loaded_context(content: Content) -> LoadContextReply:
    """What a kernel says of a context that it has loaded.

    Raises:
        KernelDied: it says something else.
    """
    chars, lines, documents = count_of(content.get("chars")), count_of(content.get("lines")), content.get("documents")
    if chars is None or lines is None or not isinstance(documents, list):
        raise KernelDied("The kernel did not say what it has loaded.")
    return {
        "status": "ok",
        "chars": chars,
        "lines": lines,
        "documents": [count_of(size) or 0 for size in documents[:DOCUMENTS_LISTED]],
        "head": _text(content.get("head"), EDGE_CHARS_MAX),
        "tail": _text(content.get("tail"), EDGE_CHARS_MAX),
        "names": offered_names(content),
    }


def without_context(content: Content) -> ContextGoneReply:
    """The reply of a kernel that is to do without a context. Raises: as `offered_names`."""
    names, unbound = offered_names(content), content.get("unbound")
    rows = unbound if isinstance(unbound, list) else []
    return {"status": "ok", "names": names, "unbound": [name for name in names if name in rows]}


def offered_names(content: Content) -> dict[str, str]:
    """The names that a kernel offers to a session, each with the line that the client is shown for it.

    Raises:
        KernelDied: there are too many, or one is not a name that code can use, or its line is too long or not
        printable.
    """
    found = content.get("names")
    if not isinstance(found, dict) or len(found) > OFFERED_MAX or not all(map(_is_offer, found, found.values())):
        raise KernelDied("The kernel did not say which names it offers.")
    return dict(found)


def _is_offer(name: str, line: object) -> bool:
    is_name = len(name) <= OFFERED_NAME_CHARS_MAX and name.isidentifier() and name.isascii()
    return is_name and isinstance(line, str) and len(line) <= OFFERED_LINE_CHARS_MAX and line.isprintable()


def imports_of(content: Content) -> tuple[str, ...]:
    """The modules that a kernel says may be imported."""
    found = content.get("imports")
    rows = found[:IMPORTS_MAX] if isinstance(found, list) else []
    return tuple(name[:NAME_CHARS_MAX] for name in rows if isinstance(name, str))


def variable_of(content: Content) -> GetVarReply:
    """What a kernel says of a variable; the texts are not safe to show yet."""
    return {
        "status": "ok",
        "name": _text(content.get("name"), NAME_CHARS_MAX),
        "type": _text(content.get("type"), NAME_CHARS_MAX),
        "size": count_of(content.get("size")),
        "json": content.get("json") is True,
        "total_chars": count_of(content.get("total_chars")) or 0,
        "whole": content.get("whole") is not False,
        "own": content.get("own") is not False,
    }


def sent_chars(content: Content) -> int | None:
    """How many characters a kernel says that it has sent; None where it could not."""
    return count_of(content.get("chars")) if is_ok(content) else None


def variables_in(buffers: Sequence[bytes]) -> list[tuple[str, str, int | None]]:
    """Names, types and sizes of a session's variables, as many as are readable; not safe to show yet."""
    try:
        rows = parse_json(buffers[0]) if buffers else []
    except BadMessage:
        return []
    return [row for row in map(name_row, rows[:NAMES_MAX]) if row is not None] if isinstance(rows, list) else []


def history_cells(content: Content) -> list[tuple[int, str]]:
    """Execution count and code of the newest cells in a history."""
    found = content.get("history")
    rows = found[-CELLS_MAX:] if isinstance(found, list) else []
    return [(row[1], row[2][:CODE_CHARS_MAX]) for row in rows if _is_cell(row)]


def _is_cell(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 3 or row[0] != 1:
        return False
    # `type`, since a bool is an int too; session 1 is the only one that a kernel has (its history is in memory).
    return type(row[1]) is int and isinstance(row[2], str)


def restored_names(content: Content) -> Mapping[str, object]:
    """Why each name is not back (`words` makes it safe); None where it is."""
    found = content.get("names")
    return found if isinstance(found, dict) else {}


def _text(value: object, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""
