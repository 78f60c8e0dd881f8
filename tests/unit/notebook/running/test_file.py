"""What is read of a notebook's file, which is anybody's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.both_sides.recorded_cells import source_digest
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.form.names import CELLS_MAX, SOURCES_CELL
from rlm_kernel_mcp.notebook.running.file import LIMIT_MS_MAX, NotebookFile, nothing_read

CONTEXTS = [{"name": "context", "kind": "text", "prefix": "", "sha256": "0" * 64, "text": "abc"}]


def code(source: Any, **facts: Any) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "metadata": {"rlm": facts}}


def notebook(*cells: Any, **facts: Any) -> dict[str, Any]:
    given = {"format": 1, "contexts": CONTEXTS, "functions": [], **facts}
    return {"nbformat": 4, "nbformat_minor": 5, "cells": list(cells), "metadata": {"rlm": given}}


def read(found: object, path: Path) -> NotebookFile:
    file = path / "n.ipynb"
    file.write_text(json.dumps(found))
    return NotebookFile.read(file)


def test_a_kernel_is_told_of_each_cell_what_it_is(tmp_path: Path) -> None:
    """By its source, which a client may have as lines, and with other line ends."""
    cells = (
        {"cell_type": "markdown", "source": "text", "metadata": {}},
        code(SOURCES_CELL, role="sources"),
        code(["a = 1\n", "a"], role="step", step=1),
        code("b", role="console"),
        code("while True: pass", role="step", step=2, limit_ms=700),
        code("x" * 9, role="step", step=3, ended="It ended its kernel."),
        code("c", role="context", context="lib"),
        code("a person's own"),
    )
    found = read(notebook(*cells), tmp_path).recorded("")
    assert [{**one, "source": None} for one in found["cells"]] == [
        {"source": None, "role": "sources"},
        {"source": None, "role": "step", "step": 1},
        {"source": None, "role": "console"},
        {"source": None, "role": "step", "step": 2, "limit_ms": 700},
        {"source": None, "role": "step", "step": 3, "ended": "It ended its kernel."},
        {"source": None, "role": "context", "context": "lib"},
    ]
    assert found["cells"][1]["source"] == source_digest("a = 1\r\na\n")


def test_a_problem_with_the_sources_is_the_first_cell_s(tmp_path: Path) -> None:
    found = read(notebook(code(SOURCES_CELL, role="sources"), code("a", role="step", step=1)), tmp_path)
    first, second = found.recorded("It is not there.")["cells"]
    assert (first["problem"], "problem" in second) == ("It is not there.", False)
    (only,) = nothing_read("It is no notebook.")["cells"]
    assert only == {"source": first["source"], "role": "sources", "problem": "It is no notebook."}


def test_answers_are_those_that_were_given(tmp_path: Path) -> None:
    """And of a question that failed, how; what is no answer is none."""
    asked: list[Any] = [
        {"kind": ["rlm"], "digest": 5, "answer": []},
        {"kind": "llm", "digest": "d1", "answer": "yes"},
        {"kind": "rlm", "digest": "d2", "error_code": "budget"},
        {"kind": "llm", "digest": "d3", "error_code": "<script>"},
        {"kind": "llm", "digest": "d4", "answer_base64": "7aCA"},
        {"kind": "llm", "digest": "d5", "answer": "yes", "answer_base64": "!"},
        {"kind": "llm", "answer": "without a digest"},
        5,
    ]
    found = read(notebook(code("a", role="step", step=4, subcalls=asked)), tmp_path).recorded("")
    assert found["answers"] == [
        {"step": 4, "digest": "d1", "answer": "yes"},
        {"step": 4, "digest": "d2", "code": "budget"},
        {"step": 4, "digest": "d3", "code": "off"},
        {"step": 4, "digest": "d4", "answer": "\ud800"},
        {"step": 4, "digest": "d5", "code": "off"},
    ]
    assert found["has_children"]


@pytest.mark.parametrize(
    "facts",
    [
        {"role": "other"},
        {"role": ["step"]},
        {"role": None},
    ],
    ids=range(3),
)
def test_a_cell_of_no_known_role_is_a_person_s(tmp_path: Path, facts: dict[str, Any]) -> None:
    assert read(notebook(code("a", **facts)), tmp_path).recorded("")["cells"] == []


def test_numbers_and_texts_of_the_file_have_bounds(tmp_path: Path) -> None:
    cell = code("a", role="step", step=True, limit_ms=10**12, ended="x" * 10_000)
    (found,) = read(notebook(cell), tmp_path).recorded("")["cells"]
    assert (found["step"], found["limit_ms"], len(found["ended"])) == (0, LIMIT_MS_MAX, 500)


@pytest.mark.parametrize(
    "found",
    [
        [],
        5,
        {},
        {"nbformat": 4, "cells": []},
        {"nbformat": 3, "cells": [], "metadata": {"rlm": {"format": 1}}},
        {"nbformat": 4, "cells": {}, "metadata": {"rlm": {"format": 1}}},
        {"nbformat": 4, "cells": [], "metadata": {"rlm": {"format": 2}}},
        {"nbformat": 4, "cells": [], "metadata": {"rlm": {"format": [[[]]]}}},
        {"nbformat": 4, "cells": [0] * (CELLS_MAX + 1), "metadata": {"rlm": {"format": 1}}},
    ],
    ids=range(9),
)
def test_what_is_no_notebook_of_a_session_is_refused(tmp_path: Path, found: object) -> None:
    with pytest.raises(InvalidInput):
        read(found, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\x00"], ids=range(4))
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "n.ipynb").write_text(text)
    with pytest.raises(InvalidInput, match="not JSON"):
        NotebookFile.read(tmp_path / "n.ipynb")


def test_very_many_values_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a gigabyte of empty lists would be eleven of memory. Long texts are no such thing."""
    monkeypatch.setattr("rlm_kernel_mcp.notebook.running.file.ITEMS_MAX", 1_000)
    with pytest.raises(InvalidInput, match="more than the 1,000 values"):
        read(notebook(code([[]] * 1_000)), tmp_path)
    assert read(notebook(code("[{," * 10_000)), tmp_path).cells[0].source == "[{," * 10_000


def test_a_pipe_or_a_directory_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="not a file"):
        NotebookFile.read(tmp_path / "pipe")
    for name in ("", "missing.ipynb"):
        with pytest.raises(InvalidInput):
            NotebookFile.read(tmp_path / name)


@pytest.mark.parametrize("contexts", [None, 5, [5], [{}] * 65, [{"name": "context"}]], ids=range(5))
def test_contexts_that_are_none_are_refused(tmp_path: Path, contexts: object) -> None:
    with pytest.raises(InvalidInput):
        read(notebook(contexts=contexts), tmp_path).sources(None)
