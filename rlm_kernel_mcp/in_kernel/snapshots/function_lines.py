"""The lines of a step's function, kept with it: in a fresh kernel its tracebacks show them, and so does `inspect`.

Is: the lines from a function's first to its last, taken from `linecache` and put back there. Is not: the whole step,
which may be long and define many functions. A courtesy. Above: `pickling.py`. Below:
`in_kernel/display_text/source_locations.py`.
"""

from __future__ import annotations

import linecache
import types
import weakref
from collections.abc import Iterator
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.display_text.source_locations import is_step

LINES_CHARS: Final = 20_000
"""Longest source of one function that is kept."""
LINE_NUMBER_MAX: Final = 100_000
KNOWN_MAX: Final = 2_000

_known: dict[int, tuple[weakref.ref[types.CodeType], tuple[str, ...]]] = {}
"""The lines of each code object by its identity: all functions are examined after each step."""


def lines_of(code: types.CodeType) -> tuple[str, ...]:
    """The lines of a function that a step defined; none where they are not available, or too long."""
    known = _known.get(id(code))
    if known is not None and known[0]() is code:
        return known[1]
    lines = _lines_of(code)
    if len(_known) >= KNOWN_MAX:
        _known.clear()
    _known[id(code)] = weakref.ref(code), lines
    return lines


def put_back(code: types.CodeType, lines: tuple[str, ...]) -> None:
    """Have `linecache` know the lines of a function that came back."""
    if not lines or not is_step(code.co_filename) or code.co_firstlineno > LINE_NUMBER_MAX:
        return
    entry = linecache.cache.get(code.co_filename)
    all_lines = entry[2] if entry is not None and len(entry) == 4 and entry[1] is None else []
    first, end = code.co_firstlineno - 1, code.co_firstlineno - 1 + len(lines)
    all_lines += ["\n"] * (end - len(all_lines))
    all_lines[first:end] = lines
    linecache.cache[code.co_filename] = sum(map(len, all_lines)), None, all_lines, code.co_filename


def _lines_of(code: types.CodeType) -> tuple[str, ...]:
    entry = linecache.cache.get(code.co_filename)
    if not is_step(code.co_filename) or entry is None or len(entry) != 4 or entry[1] is not None:
        return ()
    lines = tuple(entry[2][code.co_firstlineno - 1 : max(_ends(code), default=0)])
    return lines if sum(map(len, lines)) <= LINES_CHARS else ()


def _ends(code: types.CodeType) -> Iterator[int]:
    """The last line of each part of some code, and of the code within it."""
    yield from (end for _, end, _, _ in code.co_positions() if end is not None)
    constants: tuple[Any, ...] = code.co_consts
    for constant in constants:
        if isinstance(constant, types.CodeType):
            yield from _ends(constant)
