"""Which kernel a notebook runs again in: none that is not locked down. Its runs are `tests/kernel/notebooks/`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.start import Launch
from rlm_kernel_mcp.notebook.running.file import CodeCell
from rlm_kernel_mcp.notebook.running.rerun import CellRun, Rerun, _why
from rlm_kernel_mcp.settings import load_settings

pytestmark = pytest.mark.anyio


async def test_no_kernel_is_started_that_is_not_locked_down(tmp_path: Path) -> None:
    """Whatever kernelspec the notebook names, and even where the settings of its runner name one without a policy."""
    spec = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    found = {"nbformat": 4, "cells": [], "metadata": {**spec, "rlm": {"format": 1, "contexts": []}}}
    (tmp_path / "n.ipynb").write_text(json.dumps(found))
    settings = load_settings(tmp_path, {"HOME": str(tmp_path), "RLM_KERNEL": "python3"})
    told: list[CellRun] = []
    with pytest.raises(InvalidInput, match="is not a kernelspec with a policy"):
        await Rerun(tmp_path / "n.ipynb", settings, None, 1.0).run(told.append)
    assert told == []


class Killed(Launch):
    """Of a kernel that was killed."""

    @property
    def started(self) -> Any:
        """Its process has ended."""
        return SimpleNamespace(process=SimpleNamespace(poll=lambda: -9))


async def test_of_a_kernel_that_has_ended_it_is_told_how(tmp_path: Path) -> None:
    """Its connections, which is all that a client sees of it, cannot say whether it lives on."""
    found = {"nbformat": 4, "cells": [], "metadata": {"rlm": {"format": 1, "contexts": []}}}
    (tmp_path / "n.ipynb").write_text(json.dumps(found))
    rerun = Rerun(tmp_path / "n.ipynb", load_settings(tmp_path, {"HOME": str(tmp_path)}), None, 60.0)
    execution = Execution("m")
    execution.finish("the kernel closed the connection and lived on")
    assert await rerun._ended(Killed(), execution) == "its kernel was ended by SIGKILL"


def test_only_the_reasons_that_there_are_excuse_a_cell_and_only_they_are_printed() -> None:
    """The file is anybody's, and so is each word in it."""
    given = ["clock\nstep 2: the same", "clock", ["order"], 5, None, "chance", "clock"]
    assert _why(CodeCell({}, "", {"why": given})) == ("clock", "chance")
    assert (_why(CodeCell({}, "", {"why": "clock"})), _why(CodeCell({}, "", {}))) == ((), ())
