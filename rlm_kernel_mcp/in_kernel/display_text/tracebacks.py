"""An exception's text for a model: short, without colours, bounded whatever the exception does.

Is: the step's own frames with their lines, library frames by place alone, causes, groups and notes. Is not: IPython's
traceback, which reads files, imports 32 modules and takes seconds and 400 MB for 50,000 frames. A courtesy.
Above: `in_kernel/ipython/shell.py`. Below: `inspection.py`, `source_locations.py`.
"""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text import inspection
from rlm_kernel_mcp.in_kernel.display_text.source_locations import (
    display_location,
    is_internal_frame,
    is_step,
    source_line,
)


@dataclass(frozen=True, slots=True)
class TracebackLimits:
    """How much of an exception is shown."""

    evalue_chars: int = 10_000
    """Characters of the exception's message, which is also given separately."""
    message_chars: int = 2_000
    """Characters of a message or a note within the traceback."""
    frames: int = 40
    """Frames of one exception: half from the outermost, half from the innermost."""
    chained: int = 6
    """Exceptions of one chain of causes, the latest."""
    grouped: int = 10
    """Exceptions of one group, the first."""
    depth: int = 3
    """Groups within groups."""
    source_chars: int = 200
    lines: int = 400


DEFAULT_LIMITS: Final = TracebackLimits()


_CAUSED: Final = "\nThe above exception was the direct cause of the following exception:\n"
_DURING: Final = "\nDuring handling of the above exception, another exception occurred:\n"

_WAYS_ROUND: Final = {
    ("sqlite3.OperationalError", "access permission denied"): " (no lock on a file can be taken here: open it by "
    "sqlite3.connect('file:NAME?nolock=1', uri=True), or use ':memory:')"
}
"""What a library says where a wall refuses it something, and how to use it without that."""

# The slots of BaseException itself: a class of the user's may define properties with these names.
_cause: Final = BaseException.__dict__["__cause__"].__get__
_context: Final = BaseException.__dict__["__context__"].__get__
_suppressed: Final = BaseException.__dict__["__suppress_context__"].__get__
_traceback: Final = BaseException.__dict__["__traceback__"].__get__
_grouped: Final = BaseExceptionGroup.__dict__["exceptions"].__get__


def format_exception(
    etype: type[BaseException],
    evalue: BaseException,
    traceback: types.TracebackType | None,
    limits: TracebackLimits = DEFAULT_LIMITS,
) -> tuple[str, str, list[str]]:
    """An exception's name, message and traceback lines.

    Runs the exception's `__str__`, as Python would, and nothing else of it; call it in the thread of the step.
    """
    ename = inspection.exact(type.__dict__["__name__"].__get__(etype))
    evalue_text = _message(evalue, limits.evalue_chars)
    lines = list(islice(_chain(evalue, traceback, limits), limits.lines + 1))
    if len(lines) > limits.lines:
        lines[-1] = f"[cut after {limits.lines} lines]"
        lines.append(_last_line(evalue, limits))
    return ename, evalue_text, [line for text in lines for line in text.split("\n")]


def below_the_step(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """A traceback that begins where an exception was caught (of a value's `__repr__`), below the step's own frames."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_step(frame.f_code.co_filename):
            traceback = types.TracebackType(traceback, frame, max(frame.f_lasti, 0), frame.f_lineno or 1)
        frame = frame.f_back
    return traceback


def _chain(newest: BaseException, traceback: types.TracebackType | None, limits: TracebackLimits) -> Iterator[str]:
    """The exception below those that led to it, oldest first."""
    links: list[tuple[BaseException, str]] = []
    current, seen = newest, {id(newest)}
    left_out = False
    while True:
        before, how = _cause(current), _CAUSED
        if before is None and not _suppressed(current):
            before, how = _context(current), _DURING
        if before is None or id(before) in seen:
            break
        if len(links) == limits.chained - 1:
            left_out = True
            break
        seen.add(id(before))
        links.append((before, how))
        current = before
    if left_out:
        yield "[earlier exceptions of this chain are left out]\n"
    for exception, how in reversed(links):
        yield from _one(exception, _traceback(exception), limits, 0)
        yield how
    yield from _one(newest, traceback, limits, 0)


def _one(
    exception: BaseException, traceback: types.TracebackType | None, limits: TracebackLimits, depth: int
) -> Iterator[str]:
    """One exception: its frames, its last line, its notes, and the members of a group indented below."""
    frames = list(_frames(traceback, limits))
    if frames:
        yield "Traceback (most recent call last):"
        yield from frames
    yield from _syntax(exception)
    yield _last_line(exception, limits)
    notes = (inspection.instance_dict(exception) or {}).get("__notes__")
    if type(notes) is list:
        yield from (_cut(note, limits.message_chars) for note in notes[: limits.grouped] if type(note) is str)
    if not issubclass(type(exception), BaseExceptionGroup):
        return
    members = _grouped(exception)
    if depth >= limits.depth:
        yield f"  [a group of {len(members)} exceptions within {depth} others is not shown]"
        return
    for number, member in enumerate(members[: limits.grouped], 1):
        yield f"  --- {number} of {len(members)} ---"
        yield from (f"  {text}".replace("\n", "\n  ") for text in _one(member, _traceback(member), limits, depth + 1))
    if len(members) > limits.grouped:
        yield f"  [{len(members) - limits.grouped} more exceptions of the group are left out]"


def _frames(traceback: types.TracebackType | None, limits: TracebackLimits) -> Iterator[str]:
    """The frames, the shell's own left out, a repeated line counted, the middle of a long list left out."""
    half = limits.frames // 2
    head: list[tuple[types.TracebackType, int]] = []
    tail: deque[tuple[types.TracebackType, int]] = deque(maxlen=half)
    between = 0
    for _, same in groupby(_visible(traceback), lambda link: (id(link.tb_frame.f_code), link.tb_lineno)):
        first, *others = same
        repeated = len(others)
        if len(head) < half:
            head.append((first, repeated))
        else:
            between += tail[0][1] + 1 if len(tail) == half else 0
            tail.append((first, repeated))
    for link, repeated in head:
        yield from _frame(link, repeated, limits)
    if between:
        yield f"  [{between:,} frames are left out here]"
    for link, repeated in tail:
        yield from _frame(link, repeated, limits)


def _visible(traceback: types.TracebackType | None) -> Iterator[types.TracebackType]:
    while traceback is not None:
        if not is_internal_frame(traceback.tb_frame.f_code.co_filename):
            yield traceback
        traceback = traceback.tb_next


def _frame(link: types.TracebackType, repeated: int, limits: TracebackLimits) -> Iterator[str]:
    code, number = link.tb_frame.f_code, link.tb_lineno
    yield f"  {display_location(code.co_filename)}, line {number}, in {inspection.exact(code.co_qualname)}"
    source = source_line(code.co_filename, number)
    if source is not None:
        yield f"    {_cut(source.strip(), limits.source_chars)}"
        marker = _marker(source, link)
        if marker and len(source) <= limits.source_chars:
            yield f"    {marker}"
    if repeated:
        yield f"  [the previous frame is repeated {repeated:,} more times]"


def _marker(source: str, link: types.TracebackType) -> str:
    """`^` below the part of the line that failed; empty if that is all of it, or not on one line."""
    # One position for each code unit of two bytes.
    position = next(islice(link.tb_frame.f_code.co_positions(), link.tb_lasti // 2, None), None)
    if position is None:
        return ""
    first, last, start, end = position
    if first != last or first != link.tb_lineno or start is None or end is None:
        return ""
    # co_positions counts columns in bytes of UTF-8.
    encoded = source.encode("utf-8", "surrogatepass")
    indent = len(source) - len(source.lstrip())
    begin, width = (len(encoded[part].decode("utf-8", "replace")) for part in (slice(start), slice(start, end)))
    if width >= len(source.strip()):
        return ""
    return " " * (begin - indent) + "^" * width


def _syntax(exception: BaseException) -> Iterator[str]:
    """Where a syntax error is, with its line and a marker."""
    if type(exception) not in (SyntaxError, IndentationError, TabError):
        return
    assert isinstance(exception, SyntaxError)
    number, text, offset = exception.lineno, exception.text, exception.offset
    if type(number) is not int:
        return
    name = exception.filename if type(exception.filename) is str else "?"
    yield f"  {display_location(name)}, line {number}"
    if type(text) is not str:
        # The compiler has only the tree and no text, and counts columns in bytes of UTF-8.
        text = source_line(name, number)
        if type(text) is not str:
            return
        if type(offset) is int:
            offset = len(text.encode("utf-8", "surrogatepass")[: max(0, offset - 1)].decode("utf-8", "replace")) + 1
    own = source_line(name, number)
    if own and text.strip() not in own.replace("\0", "\\0"):  # only the text of a part of an f-string
        text, offset = own, None
    source = text.strip()
    if source:
        yield f"    {_cut(source, DEFAULT_LIMITS.source_chars)}"
        if type(offset) is int and 0 < offset <= DEFAULT_LIMITS.source_chars:
            yield "    " + " " * max(0, offset - 1 - (len(text) - len(text.lstrip()))) + "^"


def _last_line(exception: BaseException, limits: TracebackLimits) -> str:
    name = inspection.class_name(type(exception))
    if name.startswith(("__main__.", "rlm_kernel_mcp.")):
        name = inspection.type_name(exception)
    message = _message(exception, limits.message_chars)
    return f"{name}: {message}" if message else name


def _message(exception: Any, limit: int) -> str:
    if type(exception) in (SyntaxError, IndentationError, TabError) and type(exception.msg) is str:
        place = f" (line {exception.lineno})" if type(exception.lineno) is int else ""
        return _cut(exception.msg, limit) + place
    try:
        text = str(exception)
    except Exception as raised:  # noqa: BLE001  (the exception's own code: it may raise anything)
        return f"<its __str__ raised {inspection.type_name(raised)}>"
    # `__str__` may have returned a subclass of str with code of its own.
    text = str.__str__(text)
    if type(exception) is ImportError and type(exception.path) is str:
        text = text.removesuffix(f" ({exception.path})")  # where the module lies on this machine
    return _cut(text, limit) + _WAYS_ROUND.get((inspection.class_name(type(exception)), text), "")


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [cut: {limit:,} of {len(text):,} characters]"
