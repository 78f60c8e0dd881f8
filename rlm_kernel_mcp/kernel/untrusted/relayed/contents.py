"""What a page in a browser gets of a kernel's message: a content made anew, of fields that are known and checked.

Is: for each channel and type of message that a page is sent at all, what its content is. Is not: the headers, which
`lab/relay.py` makes, nor metadata and buffers, of which nothing is sent. All other types are for nobody: comms, with
which widgets draw and call, debugging, and what replies to requests that no page of ours makes. Sans-I/O. Above:
`lab/relay.py`. Below: `bundles.py`. Source: Jupyter messaging 5.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.relayed.bundles import PLAIN, SHORT_CHARS, bundle, safe

Json = dict[str, Any]

NUMBER_MAX: Final = 1 << 31
LINES_MAX: Final = 2_000
"""Of one traceback."""
MATCHES_MAX: Final = 1_000
MATCH_CHARS: Final = 400
HISTORY_MAX: Final = 1_000
"""Cells of a history that one reply has."""
ID_CHARS: Final = 200
MARKUP: Final = frozenset("<>&")
"""Of completions: pages have put their labels into the page as markup, with what matches in bold."""
STATES: Final = ("busy", "idle", "starting")
COMPLETENESS: Final = ("complete", "incomplete", "invalid", "unknown")


def relayed(channel: str, msg_type: str, content: Mapping[str, Any]) -> Json | None:
    """The content that a page gets; None where it gets nothing of the message."""
    made = _MADE.get((channel, msg_type))
    return None if made is None else made(content)


def _status(content: Mapping[str, Any]) -> Json | None:
    state = content.get("execution_state")
    return {"execution_state": state} if isinstance(state, str) and state in STATES else None


def _stream(content: Mapping[str, Any]) -> Json | None:
    text = safe(content.get("text"))
    return {"name": "stderr" if content.get("name") == "stderr" else "stdout", "text": text} if text else None


def _display(content: Mapping[str, Any]) -> Json:
    return {"data": bundle(content.get("data")), "metadata": {}, "transient": _transient(content.get("transient"))}


def _transient(value: object) -> Json:
    """Which display it is, so that a later one may replace it: a key, which no page shows."""
    display_id = value.get("display_id") if isinstance(value, dict) else None
    return {"display_id": safe(display_id, ID_CHARS)} if isinstance(display_id, str) and display_id else {}


def _result(content: Mapping[str, Any]) -> Json:
    return _display(content) | {"execution_count": _number(content.get("execution_count"))}


def _error(content: Mapping[str, Any]) -> Json:
    lines = content.get("traceback")
    texts = [line for line in lines if isinstance(line, str)][:LINES_MAX] if isinstance(lines, list) else []
    return {
        "ename": safe(content.get("ename"), SHORT_CHARS),
        "evalue": safe(content.get("evalue")),
        "traceback": safe("\n".join(texts)).replace("\r\n", "\n").split("\n") if texts else [],
    }


def _input(content: Mapping[str, Any]) -> Json:
    return {"code": safe(content.get("code")), "execution_count": _number(content.get("execution_count"))}


def _clear(content: Mapping[str, Any]) -> Json:
    return {"wait": content.get("wait") is True}


def _execute_reply(content: Mapping[str, Any]) -> Json:
    count = _number(content.get("execution_count"))
    match content.get("status"):
        case "ok":
            return {"status": "ok", "execution_count": count, "payload": _payload(content), "user_expressions": {}}
        case "aborted":
            return {"status": "aborted", "execution_count": count}
        case _:
            return {"status": "error", "execution_count": count, **_error(content)}


def _payload(content: Mapping[str, Any]) -> list[Json]:
    """Of the payloads the one that shows a text; the others write cells, open files or end the page's kernel."""
    found = content.get("payload")
    shown = found if isinstance(found, list) else []
    pages = [one for one in shown if isinstance(one, dict) and one.get("source") == "page"]
    return [{"source": "page", "data": {PLAIN: _plain(one.get("data"))}, "start": 0} for one in pages[:1]]


def _complete_reply(content: Mapping[str, Any]) -> Json:
    found = content.get("matches")
    matches = [one for one in found if _is_match(one)][:MATCHES_MAX] if isinstance(found, list) else []
    start, end = _number(content.get("cursor_start")), _number(content.get("cursor_end"))
    return {"status": "ok", "matches": matches, "cursor_start": start, "cursor_end": max(start, end), "metadata": {}}


def _is_match(value: object) -> bool:
    """Whether it may be put into a person's cell: one short line that is as it looks."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MATCH_CHARS
        and value.isprintable()
        and safe(value) == value
        and MARKUP.isdisjoint(value)
    )


def _inspect_reply(content: Mapping[str, Any]) -> Json:
    found = content.get("found") is True
    data = {PLAIN: _plain(content.get("data"))} if found else {}
    return {"status": "ok", "found": found, "data": data, "metadata": {}}


def _is_complete_reply(content: Mapping[str, Any]) -> Json:
    status, indent = content.get("status"), content.get("indent")
    blank = indent if isinstance(indent, str) and len(indent) <= ID_CHARS and not indent.strip(" \t") else ""
    return {"status": status if isinstance(status, str) and status in COMPLETENESS else "unknown", "indent": blank}


def _history_reply(content: Mapping[str, Any]) -> Json:
    rows = content.get("history")
    found = [row for row in map(_history_row, rows[-HISTORY_MAX:]) if row] if isinstance(rows, list) else []
    return {"status": "ok", "history": found}


def _history_row(row: object) -> list[Any] | None:
    """Session, line and what was entered; with it what came of it, where that was asked for."""
    if not isinstance(row, list) or len(row) != 3:
        return None
    session, line, entered = row
    texts = [safe(one) for one in entered[:2]] if isinstance(entered, list) else safe(entered)
    return [_number(session), _number(line), texts]


def _input_request(content: Mapping[str, Any]) -> Json:
    return {"prompt": safe(content.get("prompt"), SHORT_CHARS), "password": content.get("password") is True}


def _plain(data: object) -> str:
    return safe(data.get(PLAIN)) if isinstance(data, dict) else ""


def _number(value: object) -> int:
    return value if type(value) is int and 0 <= value <= NUMBER_MAX else 0


_MADE: Final[Mapping[tuple[str, str], Callable[[Mapping[str, Any]], Json | None]]] = {
    ("iopub", "status"): _status,
    ("iopub", "stream"): _stream,
    ("iopub", "display_data"): _display,
    ("iopub", "update_display_data"): _display,
    ("iopub", "execute_result"): _result,
    ("iopub", "error"): _error,
    ("iopub", "execute_input"): _input,
    ("iopub", "clear_output"): _clear,
    ("shell", "execute_reply"): _execute_reply,
    ("shell", "complete_reply"): _complete_reply,
    ("shell", "inspect_reply"): _inspect_reply,
    ("shell", "is_complete_reply"): _is_complete_reply,
    ("shell", "history_reply"): _history_reply,
    ("stdin", "input_request"): _input_request,
}
"""All that a page is ever sent of a kernel's."""
