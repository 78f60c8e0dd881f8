"""A notebook's file as it is read to run again: anybody may have written every byte of it.

Is: a read with a bound, and what of it is used, checked for type, size and count; nothing of it is true yet. Is not:
the sources that it names (`filling.py`), which are opened below the roots of whoever starts this, and only with the
hash that the file says. Above: `filling.py`, `rerun.py`. Below: `notebook/form/`,
`both_sides/recorded_cells.py`, `questions_wire.py`, `text/json_items.py`.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from rlm_kernel_mcp.both_sides.recorded_cells import (
    RecordedAnswer,
    RecordedCell,
    RecordedNotebook,
    Role,
    source_digest,
)
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.form.names import (
    ANSWERS_CHARS_MAX,
    ANSWERS_MAX,
    CELLS_MAX,
    CONTEXTS_MAX,
    FILE_BYTES_MAX,
    FORMAT,
    ITEMS_MAX,
    KEY,
    SOURCES_CELL,
)
from rlm_kernel_mcp.notebook.form.outputs import Json, joined
from rlm_kernel_mcp.notebook.form.sources import CORRECT, NAME_CHARS_MAX, NamedSource
from rlm_kernel_mcp.notebook.form.texts import text_of
from rlm_kernel_mcp.questions_wire import Code
from rlm_kernel_mcp.text.json_items import is_crowded

ROLES: Final[tuple[Role, ...]] = get_args(Role)
LIMIT_MS_MAX: Final = 600_000
SAID_CHARS_MAX: Final = 500
STEP_MAX: Final = 1_000_000
CODES: Final[frozenset[Code]] = frozenset(get_args(Code))


@dataclass(frozen=True, slots=True)
class CodeCell:
    """A code cell, and what the notebook says of it."""

    cell: Json
    source: str
    facts: Mapping[str, Any]
    """Its `CellFacts`; empty of a cell that is none of ours."""


class NotebookFile:
    """One file."""

    def __init__(self, notebook: Json) -> None:
        """Raises: InvalidInput: it is not a notebook of a session."""
        self.notebook = notebook
        cells = notebook.get("cells")
        facts = _mapping(_mapping(notebook.get("metadata")).get(KEY))
        if notebook.get("nbformat") != 4 or not isinstance(cells, list) or not facts:
            raise InvalidInput("The file is not the notebook of a session.", CORRECT)
        if (form := facts.get("format")) != FORMAT:
            said = f"the format {form}" if type(form) is int else "no format that can be known"
            raise InvalidInput(
                f"The notebook has {said}, and this version reads {FORMAT}.",
                "Use the version that wrote it, or write it again.",
            )
        if len(cells) > CELLS_MAX:
            raise InvalidInput(f"The notebook has {len(cells):,} cells, and {CELLS_MAX:,} are read.", CORRECT)
        self._facts = facts
        self.cells = [
            CodeCell(cell, joined(cell.get("source")), _mapping(_mapping(cell.get("metadata")).get(KEY)))
            for cell in cells
            if isinstance(cell, dict) and cell.get("cell_type") == "code"
        ]

    @classmethod
    def read(cls, path: Path) -> NotebookFile:
        """Read it; blocking, so call it in a thread.

        Raises:
            InvalidInput: it cannot be read, or is none.
        """
        try:
            data = _read(path)
        except OSError as error:
            raise InvalidInput(f"{path} cannot be read: {error.strerror}.", "Give the path of a notebook.") from error
        if is_crowded(data, ITEMS_MAX):
            raise InvalidInput(f"{path} has more than the {ITEMS_MAX:,} values that are read of a notebook.", CORRECT)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{path} is not JSON, so it is not a notebook.", CORRECT) from error
        if not isinstance(found, dict):
            raise InvalidInput(f"{path} is not a notebook.", CORRECT)
        return cls(found)

    def sources(self, directory: str | None) -> list[NamedSource]:
        """The contexts that it names. `directory`: where relative paths begin; None: where the file says.

        Raises:
            InvalidInput: one of them is none.
        """
        rows = self._facts.get("contexts")
        if not isinstance(rows, list) or len(rows) > CONTEXTS_MAX or not all(isinstance(row, dict) for row in rows):
            raise InvalidInput(f"The notebook does not say which contexts it has, at most {CONTEXTS_MAX}.", CORRECT)
        return [NamedSource.of(row, directory, is_first=not place) for place, row in enumerate(rows)]

    def recorded(self, problem: str) -> RecordedNotebook:
        """What a kernel is told of it. `problem`: with the sources, in whole sentences; empty: none."""
        answers = list(self._answers())
        had_children = any(one.get("kind") == "rlm" for cell in self.cells for one in _subcalls(cell))
        functions = self._facts.get("functions")
        names = functions if isinstance(functions, list) else []
        return {
            "cells": [found for cell in self.cells if (found := _recorded(cell, problem)) is not None],
            "answers": answers,
            "functions": [name for name in names if isinstance(name, str) and len(name) <= NAME_CHARS_MAX],
            "has_children": had_children,
        }

    def _answers(self) -> Iterator[RecordedAnswer]:
        left, chars = ANSWERS_MAX, ANSWERS_CHARS_MAX
        for cell in self.cells:
            for one in _subcalls(cell):
                found = _answer(one, _whole(cell.facts.get("step"), STEP_MAX))
                if found is None:
                    continue
                left, chars = left - 1, chars - len(found.get("answer", ""))
                if left < 0 or chars < 0:
                    return
                yield found


def nothing_read(problem: str) -> RecordedNotebook:
    """What a kernel is told where the file cannot be used: why its first cell fails."""
    cell: RecordedCell = {"source": source_digest(SOURCES_CELL), "role": "sources", "problem": problem}
    return {"cells": [cell], "answers": [], "functions": [], "has_children": False}


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInput(f"{path} is not a file.", "Give the path of a notebook.")
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise InvalidInput(f"{path} has more than the {FILE_BYTES_MAX:,} bytes that are read of a notebook.", CORRECT)
    return data


def _recorded(cell: CodeCell, problem: str) -> RecordedCell | None:
    role = cell.facts.get("role")
    if role not in ROLES:
        return None
    found: RecordedCell = {"source": source_digest(cell.source), "role": role}
    if role == "sources" and problem:
        found["problem"] = problem
    if role == "context" and isinstance(name := cell.facts.get("context"), str):
        found["context"] = name[:NAME_CHARS_MAX]
    if role in ("sources", "context"):
        return found
    if role == "step":
        found["step"] = _whole(cell.facts.get("step"), STEP_MAX)
    if isinstance(ended := cell.facts.get("ended"), str):
        found["ended"] = ended[:SAID_CHARS_MAX]
    if limit_ms := _whole(cell.facts.get("limit_ms"), LIMIT_MS_MAX):
        found["limit_ms"] = limit_ms
    return found


def _subcalls(cell: CodeCell) -> list[Mapping[str, Any]]:
    found = cell.facts.get("subcalls")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _answer(one: Mapping[str, Any], step: int) -> RecordedAnswer | None:
    digest, code = one.get("digest"), one.get("error_code")
    answer = text_of(one.get("answer"), one.get("answer_base64"), ANSWERS_CHARS_MAX)
    if not isinstance(digest, str):
        return None
    found: RecordedAnswer = {"step": step, "digest": digest[:NAME_CHARS_MAX]}
    if answer is not None:
        found["answer"] = answer
    else:
        found["code"] = code if isinstance(code, str) and code in CODES else "off"
    return found


def _whole(value: object, most: int) -> int:
    """A number as it is, or the most that it may be; 0 of what is none."""
    return min(value, most) if type(value) is int and value > 0 else 0


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
