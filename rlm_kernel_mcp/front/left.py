"""What a host that died has left undone for its client, and the page in which it is written down.

Is: the page's layout, frozen for each version, and `settle`, by which a front answers what was in flight. A front loads
this file when its host has died, and not before: it takes milliseconds that no start has to spare. Is not: a front's
own life, nor how a host fills a page (`server/transport/page.py`). Above: `server/transport/page.py`.
Below: the standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import select
import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlm_kernel_mcp.front.front import NoHost  # `front.py` gives it, which loads this file

# Version 1. All numbers are little-endian. Each record is written by one call, and so is there in whole or not at all.
MAGIC = b"rlm-page-1\0\0\0\0\0\0"
INPUT_AT, INPUT = 16, struct.Struct("<QIIII")
"""Bytes of stdin before this half's first; the half (0 or 1); its bytes dealt with, and its bytes read; a stage."""
OUTPUT_AT, OUTPUT = 64, struct.Struct("<IIII")
"""Bytes of the line being written (0: none), bytes of it that are out, whether no more can be, whether it is kept."""
LOST_AT, LOST = 96, struct.Struct("<I")
"""Requests in flight whose ids have no place in this page."""
HELLO_AT, HELLO, HELLO_BYTES = 69_632, struct.Struct("<I"), 1 << 14
"""The client's `initialize`, as JSON of its params: what the next host is told before it reads on."""
SLOTS_AT, SLOTS, SLOT_BYTES, SLOT = 4_096, 256, 256, struct.Struct("<QH")
"""The requests in flight: bytes of stdin up to the end of the request's line, and its id, as JSON (0 bytes: free)."""
ID_BYTES = SLOT_BYTES - SLOT.size
LINE_AT, LINE_BYTES = 86_016, 1 << 16
"""The line being written."""
HALVES_AT, HALF_BYTES = 151_552, 1 << 16
"""What was read of stdin: the kernel writes it here as it takes it out of the client's pipe. Beyond it all is zero."""
SIZE = HALVES_AT + 2 * HALF_BYTES

SHORT, LONG, WHOLE, SKIPPED, UNSEEN = range(5)
"""Stages: lines that fit into a half; a longer one, whose beginning fills this half while the other has its last piece
that was read; that one was read to its end, and its beginning and its end fill the other half; that one is answered,
and what still comes of it is passed over; or its id is still to come, and so it is the next host that answers it."""
TAIL_BYTES = 1 << 10
"""Of a long line that was read to its end: how much of a half is its end."""

IN_A_ROW, IN_A_ROW_S = 10, 10.0
"""After so many hosts, each dead within so many seconds of the one before, and nothing of this client's read meanwhile,
no further one is looked for."""
ATOMIC = 4_096
"""A line of up to so many bytes is out, or not, and never half."""
RAN = (
    "The host of this server ended before it answered. A step that was running may have run: rlm_get_trace tells. "
    "Sessions come back on their next use."
)
UNREAD = "The host of this server ended while it read this request, which was not run. Send it again."


_VALUE = rb'\s*:\s*(-?[0-9]{1,18}|"(?:[^"\\\x00-\x1f]|\\.){0,200}")'
_ID = re.compile(_VALUE + rb"\s*[,}]")
_LAST_ID = re.compile(rb'[,{]\s*"id"' + _VALUE + rb"\s*\}\s*\Z")


def settle(page: int, out: int, err: int, deaths: list[tuple[float, int]] | None = None) -> None:
    """Finish the line that was begun, answer every request in flight, and leave the page to the next host.

    `deaths`: those of this client's hosts so far, to which this one is added.

    Raises:
        NoHost: too many have died one after another for a further one to be looked for.
    """
    data = os.pread(page, SIZE, 0)
    if data[: len(MAGIC)] == MAGIC:
        _settle(page, data, out, err)
    elif data.strip(b"\0"):
        say(err, "the host wrote of another version than this front reads; what was in flight is not answered")
    if deaths is not None:
        _bound(page, deaths)


def _bound(page: int, deaths: list[tuple[float, int]]) -> None:
    """Something may end each host that has it, such as a line of this client's that none gets to note."""
    base, _, done, _, _ = INPUT.unpack(os.pread(page, INPUT.size, INPUT_AT).ljust(INPUT.size, b"\0"))
    now = time.monotonic()
    if deaths and (now - deaths[-1][0] > IN_A_ROW_S or deaths[-1][1] != base + done):
        deaths.clear()
    deaths.append((now, base + done))
    if len(deaths) >= IN_A_ROW:
        of = f"each within {IN_A_ROW_S:g} s of the one before"
        raise NoHost(f"{IN_A_ROW} hosts have died in a row, {of}, and none came to read what this client says")


def _settle(page: int, data: bytes, out: int, err: int) -> None:
    taken = _slots(data)
    unread = _pass_over(page, data, max((end for end, _ in taken.values()), default=0))
    answered = _finish_line(page, data, out)
    if unread:
        _answer(out, unread, UNREAD)
    elif unread is not None:
        say(err, "a request was lost that the host was reading; its id could not be seen")
    for slot, (_, text) in taken.items():
        if text not in answered:
            _answer(out, text, RAN)
        os.pwrite(page, SLOT.pack(0, 0), SLOTS_AT + slot * SLOT_BYTES)
    (lost,) = LOST.unpack_from(data, LOST_AT)
    if lost:
        say(err, f"requests that cannot be answered, since their ids are too long or they were too many: {lost:,}")
        os.pwrite(page, LOST.pack(0), LOST_AT)


def _slots(data: bytes) -> dict[int, tuple[int, bytes]]:
    """The requests in flight, by slot: where each one's line ended, and its id."""
    taken = {}
    for slot in range(SLOTS):
        at = SLOTS_AT + slot * SLOT_BYTES
        end, length = SLOT.unpack_from(data, at)
        if length:
            taken[slot] = end, data[at + SLOT.size : at + SLOT.size + min(length, ID_BYTES)]
    return taken


def _pass_over(page: int, data: bytes, noted: int) -> bytes | None:
    """Let the next host begin behind what was noted; returns the id of a long line that it cannot serve, or b""."""
    base, half, done, end, stage = INPUT.unpack_from(data, INPUT_AT)
    this, other = (data[HALVES_AT + one * HALF_BYTES :][:HALF_BYTES] for one in (half, 1 - half))
    unread = None
    if stage == WHOLE:
        if noted < base + done:
            unread = id_in_start(other[:-TAIL_BYTES]) or id_in_tail(other[-TAIL_BYTES:])
        stage = SHORT
    elif stage == LONG:
        unread, rest = id_in_start(this), other.rstrip(b"\0")
        line_end = rest.find(b"\n")
        if line_end >= 0:
            unread = unread or id_in_tail(rest[:line_end])
            half, done, end, stage = 1 - half, line_end + 1, len(rest), SHORT
        elif unread:
            stage = SKIPPED
        else:
            unread, stage = None, UNSEEN
    elif stage == SHORT:
        done = max(done, min(noted - base, HALF_BYTES))
    os.pwrite(page, INPUT.pack(base, half, done, max(done, end), stage), INPUT_AT)
    return unread


def _finish_line(page: int, data: bytes, out: int) -> set[bytes]:
    """Write what is left of the line that was begun; returns the ids that it answers."""
    length, written, is_sure, is_kept = OUTPUT.unpack_from(data, OUTPUT_AT)
    if not length:
        return set()
    line = data[LINE_AT : LINE_AT + length] if is_kept else b""
    if is_kept and is_sure:
        left = line[written:]
    elif length <= ATOMIC:
        left = line
    else:
        # Some of it may be out, and nobody knows how much: what is there is ended, and it is said again in whole.
        left = b"\n" + line
    _write(out, left)
    os.pwrite(page, OUTPUT.pack(0, 0, 0, 0), OUTPUT_AT)
    return _answered_by(line)


def _answered_by(line: bytes) -> set[bytes]:
    """The ids, as a slot has them, of the requests that a line answers."""
    try:
        said: Any = json.loads(line)
    except ValueError:
        return set()
    answers = [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, dict)]
    return {text_of(one["id"]) for one in answers if "id" in one and ("result" in one or "error" in one)}


def text_of(request_id: object) -> bytes:
    """An id as a slot has it."""
    return json.dumps(request_id, ensure_ascii=False, separators=(",", ":")).encode()


def id_in_start(start: bytes) -> bytes:
    """The id of the outermost object in the start of a line; b"" where it cannot be seen."""
    depth = 0
    for token in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', start, re.DOTALL):
        depth += (token[0] in b"[{") - (token[0] in b"]}")
        if depth == 1 and token[0] == b'"id"':
            value = _ID.match(start, token.end())
            return b"" if value is None else value[1]
    return b""


def id_in_tail(tail: bytes) -> bytes:
    """The id that ends an object which ends a line; b"" where it is not that."""
    values = [*_LAST_ID.finditer(tail)]
    return values[-1][1] if values else b""


def _answer(out: int, request_id: bytes, words: str) -> None:
    error = b'{"code":-32603,"message":%s}' % json.dumps(words).encode()
    _write(out, b'{"jsonrpc":"2.0","id":%s,"error":%s}\n' % (request_id, error))


def say(err: int, words: str) -> None:
    """A line of the log, where there is room for it: who reads no log waits for answers all the same."""
    if select.select([], [err], [], 0)[1]:
        _write(err, f"rlm-kernel-mcp: {words}\n".encode("utf-8", "backslashreplace"))


def _write(descriptor: int, data: bytes) -> None:
    """Write it all, also where the client has said that its end does not block; or none, where nobody will read it."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError:
            return
