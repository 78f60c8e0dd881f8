r"""Cells that are not Python yet: in a Markdown fence, indented as a whole, or pasted with their prompts.

Is: the transforms that stand in for IPython's own, which look at lines alone and so take prompts and indentation out
of string literals too. What lies in a literal is left as it is. Is not: magics, `!` and `?`, which IPython finds by
tokens. A courtesy. Above: `in_kernel/ipython/shell.py`. Below: the standard library.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator
from typing import Any, Final

from IPython.core.inputtransformer2 import leading_empty_lines

_QUOTES: Final = re.compile(r'\\.|#|"""|\'\'\'|"|\'', re.DOTALL)
_FENCE: Final = re.compile(r"(`{3,}|~{3,})\s*(?:python3?|py|ipython3?|repl|tool_code)?(?:[\s{][^`]*)?", re.IGNORECASE)
"""The first line of a fence, with whatever stands behind the language."""
_NO_PYTHON: Final = ("%", "!", "?")
_STYLES: Final = (
    (re.compile(r"((\[nav\]|\[ins\])? )?In \[\d+\]: ?"), re.compile(r"\s*\.{3,}: ?")),
    (re.compile(r"\s*>>>( |\t|$)"), re.compile(r"\s*\.\.\.( |\t|$)")),
)
"""The first prompt of an input, and that of its further lines: IPython's, and Python's own."""


def install_cell_transforms(manager: Any) -> None:
    """Use the transforms of this module in place of IPython's."""
    manager.cleanup_transforms = [without_fence, leading_empty_lines, without_indent, without_prompts]


def begins_with_prompt(cell: str) -> bool:
    """Whether a cell was pasted with its prompts: then it is stripped of them, even if it happens to be Python."""
    first = cell.lstrip("\r\n")
    return any(start.match(first) for start, _ in _STYLES)


def without_fence(lines: list[str]) -> list[str]:
    """The lines without the Markdown fence around all of them, which is replaced by empty lines."""
    text = [at for at, line in enumerate(lines) if line.strip()]
    begin = _FENCE.fullmatch(lines[text[0]].strip()) if len(text) > 1 else None
    end = lines[text[-1]].strip() if begin else ""
    if begin is None or not end.startswith(begin[1]) or end.strip(begin[1][0]):
        return lines
    return ["\n" if at in (text[0], text[-1]) else line for at, line in enumerate(lines)]


def without_indent(lines: list[str]) -> list[str]:
    """The lines without the indentation that all of them have; lines within a literal keep theirs."""
    inside = _inside_literals(lines)
    code = [line for line, literal in zip(lines, inside, strict=True) if not literal and line.strip()]
    margins = [line[: len(line) - len(line.lstrip())] for line in code if not line.lstrip().startswith("#")]
    # As in textwrap.dedent: tabs and spaces are different characters and never match each other.
    margin = os.path.commonprefix(margins)  # noqa: RUF071  (character by character)
    if not margin:
        return lines
    return [line if literal else line.removeprefix(margin) for line, literal in zip(lines, inside, strict=True)]


def without_prompts(lines: list[str]) -> list[str]:
    """The lines, without their prompts, of a cell that begins with one.

    Within a literal only continuation prompts are removed, and only where each line of the literal has one.
    """
    for start, further in _STYLES:
        if lines and start.match(lines[0]):
            return list(_stripped(lines, start, further))
    return lines


def _stripped(lines: list[str], start: re.Pattern[str], further: re.Pattern[str]) -> Iterator[str]:
    quote = ""
    at = 0
    while at < len(lines):
        end = at + 1
        if quote:
            while (quote := _quote_after(lines[end - 1], quote)) and end < len(lines):
                end += 1
            literal = lines[at:end]
            prompted = all(map(further.match, literal))
            yield from (further.sub("", line, count=1) if prompted else line for line in literal)
        else:
            prompt = start.match(lines[at]) or further.match(lines[at])
            line = lines[at][prompt.end() :] if prompt else lines[at]
            quote = _quote_after(line, "")
            yield line
        at = end


def _inside_literals(lines: list[str]) -> list[bool]:
    """Whether each line begins within a string literal."""
    inside, quote = [], ""
    for line in lines:
        inside.append(bool(quote))
        quote = _quote_after(line, quote)
    return inside


def _quote_after(line: str, quote: str) -> str:
    """The quotes of the literal that is open at the end of a line, or nothing, from what was open at its beginning."""
    if not quote and line.lstrip().startswith(_NO_PYTHON):
        return ""
    last = ""
    for found in _QUOTES.finditer(line):
        last = found[0]
        if quote:
            quote = "" if last == quote else quote
        elif last == "#":
            return ""
        elif not last.startswith("\\"):
            quote = last
    # A literal spans lines only in triple quotes, or with a backslash before the line end.
    return quote if len(quote) == 3 or last.startswith(("\\\n", "\\\r")) else ""
