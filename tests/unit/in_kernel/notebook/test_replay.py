"""Which cell is which when a notebook runs again in a kernel."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from typing import cast

import pytest

from rlm_kernel_mcp.both_sides.recorded_cells import RecordedCell, source_digest
from rlm_kernel_mcp.in_kernel.asking import state
from rlm_kernel_mcp.in_kernel.notebook.replay import LATER_MAX, LOADED, Cell, Replay


@pytest.fixture(autouse=True)
def asking() -> Iterator[None]:
    """A kernel's way to ask, as it was before."""
    before = state._State.channel, state._State.functions, state._State.calls_alone
    yield
    state._State.channel, state._State.functions, state._State.calls_alone = before


def cell(source: str, role: str, **more: object) -> RecordedCell:
    return cast(RecordedCell, {"source": source_digest(source), "role": role, **more})


def replay(*cells: RecordedCell, answers: bool = False) -> Replay:
    """A kernel's that was handed these by a file."""
    given = [{"step": 1, "digest": "d", "answer": "a"}] if answers else []
    text = json.dumps({"cells": cells, "answers": given, "functions": [], "has_children": False})
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        made = Replay()
        assert made.take({}, lambda: os.dup(file.fileno())) == {}
    return made


def test_a_kernel_without_a_notebook_runs_what_it_is_sent() -> None:
    assert Replay().begin("x = 1") == Cell("x = 1")


def test_a_step_runs_under_its_number_and_a_person_s_cell_as_one() -> None:
    """And a cell that somebody has edited is a person's own."""
    made = replay(cell("sources", "sources"), cell("a", "step", step=7), cell("b", "console"))
    assert made.begin("sources") == Cell(LOADED, is_counted=False)
    assert made.begin("a\n") == Cell("a\n", 7)
    assert made.begin("b") == Cell("b", is_console=True)
    assert made.begin("edited") == Cell("edited")


def test_equal_cells_are_told_by_their_order_and_one_that_runs_once_more_is_found() -> None:
    made = replay(cell("a", "step", step=1), cell("a", "step", step=2))
    assert [made.begin("a").step for _ in range(3)] == [1, 2, 1]


def test_a_problem_with_the_sources_is_raised_by_the_first_cell() -> None:
    """In the words that the host has for it, whatever is in them."""
    made = replay(cell("sources", "sources", problem='It "is" \n not there.'))
    with pytest.raises(RuntimeError, match="not there"):
        exec(made.begin("sources").code, {})


def test_a_step_that_ended_its_kernel_is_not_run_and_one_that_was_stopped_is_stopped() -> None:
    made = replay(cell("a", "step", step=1, ended="It ended its kernel."), cell("b", "step", step=2, limit_ms=500))
    found = made.begin("a")
    assert (found.code, found.is_counted) == ("raise RuntimeError('It ended its kernel.')", True)
    assert made.begin("b").limit_s == 0.5


def test_a_further_context_comes_with_its_cell_and_only_then() -> None:
    loaded: list[str] = []
    made = replay(cell("add", "context", context="lib"))

    def load() -> dict[str, str]:
        loaded.append("lib")
        return {"status": "ok"}

    made.keep("lib", load)
    assert loaded == []
    assert made.begin("add") == Cell(LOADED, is_counted=False)
    assert loaded == ["lib"]


def test_a_context_that_cannot_be_bound_fails_its_cell() -> None:
    made = replay(cell("add", "context", context="lib"))
    made.keep("lib", lambda: {"status": "error", "ename": "NameTaken", "evalue": "lib"})
    with pytest.raises(RuntimeError, match=r"context lib .*NameTaken"):
        exec(made.begin("add").code, {})


def test_only_so_many_contexts_wait() -> None:
    made = Replay()
    for number in range(LATER_MAX):
        made.keep(str(number), dict)
    with pytest.raises(ValueError, match="64"):
        made.keep("more", dict)


def test_who_asked_nobody_is_told_what_it_was_told_then() -> None:
    """A notebook without answers leaves the words of a session in which nobody answers."""
    state._State.channel = None
    replay(cell("a", "step", step=1))
    assert not state.is_open()
    replay(cell("a", "step", step=1), answers=True)
    assert state.is_open()
