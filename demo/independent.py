"""The demo's questions answered a second time, in this process and by another method: Python's tokens.

Is: the check of what the session found with `ast` in the kernel. Is not: a parser; it reads logical lines.
The questions are defined so that both methods must agree to the last line:

- a document's imports: the distinct first parts of the module names in its import statements, relative ones left out
- a use of a call: the line of NAME in each `.NAME(` outside of f-strings
- a function's length: from its `def` line to the last line of its last statement
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from tokenize import TokenInfo
from typing import Any, Final

TRIVIA: Final = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}
SHOWN_CHARS: Final = 300
"""Of a citation's text that an answer of the server has."""
LINE: Final = re.compile(r"[^\n]*\n|[^\n]+")
F_STRING: Final = {"FSTRING_START": 1, "TSTRING_START": 1, "FSTRING_END": -1, "TSTRING_END": -1}
"""From Python 3.12 on, an f-string is several tokens; before, it is one."""

Answers = dict[str, list[list[Any]]]


@dataclass(slots=True)
class Document:
    """What the tokens of one document say."""

    imports: set[str] = field(default_factory=set)
    calls: list[int] = field(default_factory=list)
    functions: list[tuple[int, int, str]] = field(default_factory=list)
    """(length in lines, first line, name)"""


def answer(texts: Mapping[str, str], call: str, progress: Callable[[int], None] = lambda _: None) -> Answers:
    """The three answers, in the shape that the session's `answers` variable has.

    `progress`: told how many documents are read, after each.
    """
    documents = {}
    for done, (name, text) in enumerate(texts.items(), start=1):
        documents[name] = read(text, call)
        progress(done)
    importers = sorted(((-len(one.imports), name) for name, one in documents.items()))[:10]
    functions = sorted(
        (-length, name, line, what) for name, one in documents.items() for length, line, what in one.functions
    )
    return {
        "importers": [[name, -count] for count, name in importers],
        "calls": [[name, line] for name, one in sorted(documents.items()) for line in sorted(one.calls)],
        "longest": [[what, name, line, -length] for length, name, line, what in functions[:1]],
    }


def report(answers: Answers, call: str) -> str:
    """The final answer that the session must give, to the character."""
    lines = ["Most imports:", *(f"  {count:4} {name}" for name, count in answers["importers"])]
    lines.append(f"Calls of .{call}():")
    lines += [f"  {name}:{line} [c{number}]" for number, (name, line) in enumerate(answers["calls"], start=1)]
    for number, (function, place, line, length) in enumerate(answers["longest"], start=len(answers["calls"]) + 1):
        lines.append(f"Longest function: {function} at {place}:{line}, {length} lines [c{number}]")
    return "\n".join(lines)


def citations(answers: Answers, texts: Mapping[str, str]) -> list[tuple[str, str, int, str]]:
    """What the server must say of each citation: status, document, first line, and the beginning of its text.

    The marks of the calls; that of the longest function, which is of its first two lines; and these again as a quote.
    """
    found = [(name, line, lines_of(texts[name], line, line)) for name, line in answers["calls"]]
    for _, name, line, _ in answers["longest"]:
        head = lines_of(texts[name], line, line + 1)
        quoted = head.strip()
        found.append((name, line, head))
        found.append((name, texts[name].count("\n", 0, texts[name].index(quoted)) + 1, quoted))
    return [("verified", name, line, text[:SHOWN_CHARS]) for name, line, text in found]


def lines_of(text: str, first: int, last: int) -> str:
    """Some lines of a text, as `grep -n` counts them."""
    return "".join(LINE.findall(text)[first - 1 : last])


def decoded(path: Path) -> str:
    """A source's text: UTF-8 without its byte order mark; a file that is not UTF-8 keeps each byte as a character."""
    data = path.read_bytes()
    text = data.decode("utf-8-sig", "surrogateescape")
    bad = sum("\udc80" <= char <= "\udcff" for char in text)
    several_bytes = len(data) - len(text)
    return text if bad * 1_000 <= len(data) or several_bytes >= bad else data.decode("latin-1")


def read(text: str, call: str) -> Document:
    """Read one document that is valid Python.

    Raises:
        tokenize.TokenError: the text is not Python.
    """
    found = Document()
    blocks: list[tuple[int, int, str] | None] = []  # one per open indentation: the function that it is the body of
    header: tuple[int, int, str] | None = None  # a `def` line whose body has not begun yet
    last_row = 0
    for line in logical_lines(text):
        for kind in (token.type for token in line):
            if kind == tokenize.INDENT:
                blocks.append(header)
                header = None
            elif kind == tokenize.DEDENT:
                close(found, blocks.pop(), last_row)
        close(found, header, last_row)  # its body stood on its own line
        code = [token for token in line if token.type not in (tokenize.INDENT, tokenize.DEDENT)]
        if code:
            read_line(found, code, call)
            header = function_header(code)
            last_row = code[-1].end[0]
    close(found, header, last_row)
    return found


def close(found: Document, function: tuple[int, int, str] | None, last_row: int) -> None:
    """Record a function that ends on `last_row`."""
    if function is not None:
        _, first_row, name = function
        found.functions.append((last_row - first_row + 1, first_row, name))


def logical_lines(text: str) -> Iterator[list[TokenInfo]]:
    """The tokens of each logical line, preceded by its indents and dedents; the insides of f-strings are left out."""
    line: list[TokenInfo] = []
    depth = 0
    for token in tokenize.generate_tokens(StringIO(text, newline=None).readline):
        depth += F_STRING.get(tokenize.tok_name[token.type], 0)
        if token.type in TRIVIA or (depth and not tokenize.tok_name[token.type].endswith("_START")):
            continue
        if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            yield line
            line = []
        else:
            line.append(token)


def function_header(code: list[TokenInfo]) -> tuple[int, int, str] | None:
    """(0, line, name) if this logical line begins a function."""
    words = [token.string for token in code[:3]]
    at = 1 if words[:2] == ["async", "def"] else 0
    if words[at : at + 1] != ["def"]:
        return None
    return 0, code[0].start[0], code[at + 1].string


def read_line(found: Document, code: list[TokenInfo], call: str) -> None:
    """Record the imports and the calls of one logical line."""
    words = [token.string for token in code]
    for at, token in enumerate(code):
        if token.type != tokenize.NAME:
            continue
        if token.string == "import":
            found.imports.update(imported(words, at))
        elif token.string == call and words[at - 1 : at] == ["."] and words[at + 1 : at + 2] == ["("]:
            found.calls.append(token.start[0])


def imported(words: list[str], at: int) -> Iterator[str]:
    """The first part of each module named by the statement whose `import` is at this index."""
    start = max((i for i in range(at) if words[i] in (";", ":")), default=-1) + 1
    if words[start] == "from":
        if words[start + 1].strip("."):
            yield words[start + 1]
        return
    end = next((i for i in range(at, len(words)) if words[i] == ";"), len(words))
    for i in range(at + 1, end):
        if words[i - 1] in ("import", ","):
            yield words[i]
