"""`rlm-kernel-mcp notebook run`: what is printed of a run, and the exit status; and `trace --format notebook`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp import cli
from rlm_kernel_mcp.commands import notebooks
from rlm_kernel_mcp.commands.trace import traced
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.form.outputs import Said
from rlm_kernel_mcp.notebook.running.rerun import CellRun, written
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from tests.unit.notebook.schema import validate

LOADING = '{"name": "context", "kind": "text", "state": "loading"}'
SAME = CellRun("step 1", Said(result="1"))
MAY = CellRun("step 2", Said("0.2\n"), ("stdout",), ("clock",))
OTHER = CellRun("step 3", Said(result="2"), ("result",))
STOPPED = CellRun("sources", Said(), problem="The context logs is not loaded.")


def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *runs: CellRun) -> int:
    """The exit status of a run in which this comes of the cells."""

    class Run:
        notebook: dict[str, Any]

        def __init__(self, *given: object) -> None:
            assert given[0] == tmp_path / "n.ipynb"

        async def run(self, told: Callable[[CellRun], None]) -> list[CellRun]:
            for one in runs:
                told(one)
            return list(runs)

    monkeypatch.setattr(notebooks, "Rerun", Run)
    return cli.main(["notebook", "run", str(tmp_path / "n.ipynb"), "--root", str(tmp_path)])


def test_the_same_outputs_are_status_0_and_those_that_may_differ_do_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, tmp_path, SAME, MAY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "step 1: the same",
        "step 2: differs in stdout (it may: clock)",
        "1 of 2 cells say the same; 1 differ that may; 0 differ or failed.",
    ]


@pytest.mark.parametrize("one", [OTHER, STOPPED], ids=["differs", "stopped"])
def test_another_output_or_a_source_that_is_not_there_is_status_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], one: CellRun
) -> None:
    assert ran(monkeypatch, tmp_path, SAME, one) == 1
    said = capsys.readouterr().out
    assert "1 differ or failed" in said
    assert (one.problem or "differs in result") in said


def test_words_of_the_notebook_s_code_are_no_lines_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first cell is whatever its writer wants, and so is the exception that this raises."""
    said = "x\nstep 1: the same\r\n1 of 1 cells say the same; 0 differ that may; 0 differ or failed.\n" + "\n" * 20_000
    assert ran(monkeypatch, tmp_path, CellRun("sources", Said(), problem=said)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line and not line.startswith("    ")] == [
        "sources: x",
        "0 of 1 cells say the same; 0 differ that may; 1 differ or failed.",
    ]
    assert len(lines) < 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.ipynb"], "cannot be read"),
        (["x", "--root", "/no/such/place"], "is not a directory"),
        (["x", "--root", "two:roots"], "stands between roots"),
        (["x", "--cell-timeout", "0"], "whole number of seconds"),
        (["x", "--cell-timeout", "0" * 9 + "99999"], "whole number of seconds"),
    ],
    ids=range(5),
)
def test_what_is_asked_wrongly_is_status_2(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two:roots").mkdir()
    try:
        status = cli.main(["notebook", "run", *arguments])
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert said in capsys.readouterr().err


def test_new_outputs_are_written_and_a_cell_that_differs_though_it_may_not_is_tagged(tmp_path: Path) -> None:
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "id": name, "source": name, "outputs": [], "metadata": {}, "execution_count": 1}
        for name in ("a", "b", "c")
    ]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    written(notebook, [SAME, MAY, OTHER], tmp_path / "out.ipynb")
    made = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    assert [cell["metadata"].get("tags") for cell in made] == [[], [], ["not-repeatable"]]
    assert [cell["outputs"][0]["output_type"] for cell in made] == ["execute_result", "stream", "execute_result"]
    assert made[2]["metadata"]["rlm"] == {"why": ["differed"]}
    assert notebook["cells"] == cells
    with pytest.raises(InvalidInput, match="cannot be written"):
        written(notebook, [], tmp_path / "missing" / "out.ipynb")


def test_a_notebook_that_is_nested_too_deep_to_be_written_says_so_and_what_is_there_stays(tmp_path: Path) -> None:
    """It can be read, since that takes fewer levels."""
    (tmp_path / "out.ipynb").write_text("mine")
    deep: Any = []
    for _ in range(sys.getrecursionlimit()):
        deep = [deep]
    with pytest.raises(InvalidInput, match="nested too deep"):
        written({"cells": [], "metadata": {"deep": deep}}, [], tmp_path / "out.ipynb")
    assert (tmp_path / "out.ipynb").read_text() == "mine"


@pytest.mark.parametrize("form", ["notebook", "html"])
@pytest.mark.parametrize("option", ["follow", "children"])
def test_a_notebook_is_of_one_session_as_far_as_it_is(tmp_path: Path, form: str, option: str) -> None:
    asked = {
        "session_id": "s_1",
        "json": False,
        "format": form,
        "children": False,
        "follow": False,
        "annotations": False,
        "question": None,
    }
    settings = load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path)})
    with pytest.raises(InvalidInput, match=f"--format {form} goes neither"):
        traced(settings, Namespace(**asked | {option: True}))


def test_a_trace_is_printed_as_a_notebook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(tmp_path)
    store.add_session(
        SessionRecord(
            "s_1", "2026-11-30T10:00:00.000Z", "text", "idle", context=LOADING, context_ref='{"inline": true}'
        )
    )
    store.add_event(EventRow("s_1", "2026-11-30T10:00:01.000Z", 1, "run_repl", result_status="ok", code="6 * 7"))
    store.close()
    settings = load_settings(Path.cwd(), {"RLM_STATE_DIR": str(tmp_path)})
    asked = {"session_id": "s_1", "json": False, "format": "notebook", "children": False}
    assert traced(settings, Namespace(**asked, follow=False, annotations=False, question=None)) == 0
    notebook = json.loads(capsys.readouterr().out)
    validate(notebook)
    assert [cell["source"] for cell in notebook["cells"]][-1] == "6 * 7"
