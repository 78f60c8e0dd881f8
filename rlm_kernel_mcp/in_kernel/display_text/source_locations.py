"""How a place in code is named when shown: by a step's number or a library's file, never by a path of the machine.

Is: the names that steps are compiled under, and what any file's name becomes. Is not: a traceback. A courtesy.
Above: `in_kernel/ipython/kernel.py`, `tracebacks.py`, `stderr_hooks.py`. Below: `inspection.py`, IPython's compiler.
"""

from __future__ import annotations

import ast
import codeop
import importlib
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import ipykernel
import IPython
from IPython.core.compilerop import CachingCompiler

from rlm_kernel_mcp.in_kernel.display_text import inspection

STEPS_KEPT: Final = 2_000
TREE_CHARS: Final = 100_000
"""Longest step whose tree is kept while it runs; a tree takes a hundred times its source in memory."""
_HIDDEN: Final = (
    *(str(Path(str(module.__file__)).parent) + os.sep for module in (IPython, ipykernel)),
    str(Path(__file__).parents[1]) + os.sep,
    codeop.__file__,
    importlib.__file__,
    "<frozen importlib",
)
_DIRECTORIES: Final = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(entry for entry in sys.path if Path(entry).is_absolute()),
    str(Path(__file__).parents[3]),
)
_LIBRARIES: Final = tuple(
    sorted({directory.rstrip(os.sep) + os.sep for directory in _DIRECTORIES}, key=len, reverse=True)
)
"""Beginnings of paths that are never shown, the longest first."""
_INCOMPLETE: Final[int] = getattr(codeop, "PyCF_ALLOW_INCOMPLETE_INPUT", 0)
_CELL: Final = re.compile(r"<ipython-(input|console)-(\d+)-\w+>")


class StepCompiler(CachingCompiler):
    """Names each step by its number, and keeps the lines of the latest `STEPS_KEPT` for tracebacks.

    ipykernel's own names a step by a hash that takes 30 ms for a long one and says nothing to a reader. A step is
    parsed once, though its tree is asked for three times: by the shell's transformer, by IPython, and in the search for
    the names that it bound.
    """

    step = 0
    """Number of the running step, as its agent knows it; 0: the cell has none, and is named by its execution count."""
    for_console = False
    """Whether the cell that runs is a person's, in a session whose steps have numbers of their own."""

    _parsed: tuple[str, ast.AST] | None = None

    def __init__(self) -> None:
        """As IPython's."""
        super().__init__()
        # With that flag, an open bracket or literal would only be "incomplete input".
        self.flags &= ~_INCOMPLETE
        self._ahead: dict[tuple[int, str], Any] = {}
        """Code by the identity of its statement, and by its mode."""

    def compile_ahead(self, statements: Sequence[ast.stmt], filename: str) -> None:
        """Compile a step's statements, which IPython compiles one by one as it runs them, before any of them runs.

        Raises:
            SyntaxError, ValueError, RecursionError, MemoryError: one of them is not Python after all.
        """
        self._ahead.clear()
        with self.extra_flags(ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
            for statement in statements:
                shown = statement is statements[-1] and isinstance(statement, ast.Expr)
                mode = "single" if shown else "exec"
                tree: Any = ast.Interactive([statement]) if shown else ast.Module([statement], [])
                self._ahead[id(statement), mode] = super().__call__(tree, filename, mode)

    def __call__(self, source: Any, filename: str, symbol: str, *options: Any, **more: Any) -> Any:
        """The code of a source or a tree; for a statement that was compiled ahead, that code."""
        if isinstance(source, ast.Module | ast.Interactive) and len(source.body) == 1:
            code = self._ahead.pop((id(source.body[0]), symbol), None)
            if code is not None:
                return code
        return super().__call__(source, filename, symbol, *options, **more)

    def let_go(self) -> None:
        """Forget what was compiled and did not run."""
        self._ahead.clear()

    def ast_parse(self, source: str, filename: str = "<unknown>", symbol: str = "exec") -> ast.AST:
        """A source's tree; for the step that was parsed last, the same one."""
        if self._parsed is not None and self._parsed[0] == source and symbol == "exec":
            return self._parsed[1]
        if "\0" in source:  # Python's own error names no line
            before, _, after = source.partition("\0")
            line = before.rpartition("\n")[2]
            text = line + "\\0" + after.partition("\n")[0]
            where = filename, before.count("\n") + 1, len(line) + 1, text
            raise SyntaxError("source code cannot contain null bytes", where)
        tree: ast.AST = super().ast_parse(source, filename, symbol)
        if symbol == "exec" and len(source) <= TREE_CHARS:
            self._parsed = source, tree
        return tree

    def take_tree(self, source: str) -> ast.AST | None:
        """The tree of a step that has ended, if it is available; it is released here."""
        parsed, self._parsed = self._parsed, None
        return parsed[1] if parsed is not None and parsed[0] == source else None

    def get_code_name(self, raw_code: str, transformed_code: str, number: int) -> str:
        """The name that a cell's frames have. A kernel counts from 1 again where it replaces another."""
        name = super().get_code_name(raw_code, transformed_code, self.step or number)
        return name.replace("input", "console", 1) if self.for_console else name

    def cache(self, transformed_code: str, number: int = 0, raw_code: str | None = None) -> str:
        """Keep the lines of a step; returns the name that its frames will have."""
        name = super().cache(transformed_code, number, raw_code)
        while len(self._filename_map) > STEPS_KEPT:
            oldest = next(iter(self._filename_map))
            del self._filename_map[oldest]
            linecache.cache.pop(oldest, None)
        return name


def is_internal_frame(filename: str) -> bool:
    """Whether a file is the shell's, whose frames are in every traceback and tell a reader nothing."""
    return filename.startswith(_HIDDEN)


def is_step(filename: str) -> bool:
    """Whether a file is a step's code."""
    return _CELL.fullmatch(filename) is not None


def display_location(filename: str) -> str:
    """A file's name for a reader: the step's or console's number, or the path within its library."""
    cell = _CELL.fullmatch(filename)
    if cell:
        return f"In[{cell[2]}]" if cell[1] == "input" else f"console In[{cell[2]}]"
    if source_line(filename, 1) is not None:
        return "the step"
    for library in _LIBRARIES:
        if filename.startswith(library):
            return filename.removeprefix(library)
    return filename[: inspection.NAME_CHARS]


def source_line(filename: str, number: int | None) -> str | None:
    """A line of a step's source; no file is ever read, whatever name the code has given itself."""
    entry = linecache.cache.get(filename)
    if entry is None or len(entry) != 4 or entry[1] is not None or number is None:
        return None
    lines = entry[2]
    return lines[number - 1].rstrip("\n") if 0 < number <= len(lines) else ""
