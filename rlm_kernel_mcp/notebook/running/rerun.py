"""Runs a session's notebook again, from top to bottom, and compares what each cell says with what it said.

Is: one kernel, started as any Jupyter client starts it, so that nbclient and JupyterLab get the same; a bound on each
cell; and the comparison. Is not: the sources (`filling.py`). Above: `commands/notebooks.py`. Below: `file.py`,
`kernel/client.py`, jupyter_client's manager.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from rlm_kernel_mcp.errors import InvalidInput, KernelDied, KernelStartFailed
from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec, spec_manager
from rlm_kernel_mcp.kernel.start import Launch
from rlm_kernel_mcp.notebook.form.names import KEY, NOT_REPEATABLE, RAISES, VARIABLE, Why
from rlm_kernel_mcp.notebook.form.outputs import Json, Said
from rlm_kernel_mcp.notebook.form.sources import CORRECT
from rlm_kernel_mcp.notebook.running.file import CodeCell, NotebookFile
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.text.safe_text import safe_text

CONNECT_S: Final = 30.0
GRACE_S: Final = 5.0
"""How long a cell may take to end after its interrupt."""
AGAIN: Final = "Run it again; if that fails too, `rlm-kernel-mcp doctor` says what is missing."
LABEL_CHARS: Final = 60
WHYS: Final[tuple[Why, ...]] = get_args(Why)


@dataclass(frozen=True, slots=True)
class CellRun:
    """What became of one code cell."""

    label: str
    said: Said
    differs: tuple[str, ...] = ()
    """In which parts from what it said."""
    why: tuple[Why, ...] = ()
    """Why it may, by the notebook; nothing: it may not."""
    problem: str = ""
    """Why the run ends with it."""


class Rerun:
    """One run of one notebook."""

    def __init__(self, path: Path, settings: Settings, directory: str | None, cell_s: float) -> None:
        """`directory`: below which alone sources are read; None: as the settings say.

        Raises:
            InvalidInput: the file is not a session's notebook.
        """
        self._file = NotebookFile.read(path)
        self._path, self._settings, self._directory, self._cell_s = path, settings, directory, cell_s

    @property
    def notebook(self) -> Json:
        """The file's JSON value."""
        return self._file.notebook

    async def run(self, told: Callable[[CellRun], None]) -> list[CellRun]:
        """Run it; `told` hears of each cell as it ends.

        Raises:
            RlmError: its kernel cannot be started, or would not be locked down.
        """
        name, variables = self._settings.kernel, self._settings.jupyter
        locked_kernelspec(name, variables)
        manager = Launch(kernel_name=name, kernel_spec_manager=spec_manager(variables))
        await manager.start_kernel(env=self._environment())
        client = KernelClient(manager.session.key)
        runs: list[CellRun] = []
        try:
            if manager.started is None:
                raise KernelStartFailed(f"The kernelspec {name} names another provisioner than rlm-provisioner.")
            async with asyncio.timeout(CONNECT_S):
                await client.open(dict(manager.get_connection_info()))
            for cell in self._file.cells:
                runs.append(await self._run(manager, client, cell, len(runs) + 1))
                told(runs[-1])
                if runs[-1].problem:
                    break
        except TimeoutError:
            raise KernelDied(f"The kernel did not answer within {CONNECT_S:.0f} s.", AGAIN) from None
        finally:
            client.close("the notebook has run")
            await shielded(_end(manager), "the end of a notebook's kernel")
        return runs

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, VARIABLE: str(self._path)}
        return environment | ({} if self._directory is None else {"RLM_CONTEXT_ROOTS": self._directory})

    async def _run(self, manager: Launch, client: KernelClient, cell: CodeCell, number: int) -> CellRun:
        label, then = _label(cell, number), Said.of_outputs(_list(cell.cell.get("outputs")))
        execution = client.execute(cell.source)
        problem = await self._ended(manager, execution)
        reply = execution.reply
        error = None if reply.ename is None else (reply.ename, reply.evalue, reply.traceback)
        shown = ((one.mime_type, one.data, one.place) for one in reply.displays.kept)
        now = Said.of(reply.stdout.text(), reply.stderr.text(), reply.result, error, shown)
        if cell.facts.get("role") in ("sources", "context") and error is not None:
            problem = safe_text(reply.evalue)
        return CellRun(label, now, tuple(now.differs_from(then)), _why(cell), problem)

    async def _ended(self, manager: Launch, execution: Execution) -> str:
        """Wait for a cell's end, within its bound; returns why the run cannot go on, if so."""
        await asyncio.wait({execution.done}, timeout=self._cell_s)
        if not execution.done.done():
            await manager.interrupt_kernel()
            await asyncio.wait({execution.done}, timeout=GRACE_S)
        if not execution.done.done():
            return f"it ran for {self._cell_s:,.0f} s, and did not end when it was interrupted"
        how = execution.done.result()
        if how in ("complete", "half"):
            return ""
        return f"its kernel {manager.how_ended() or f'is gone: {how}'}"


async def _end(manager: Launch) -> None:
    await manager.shutdown_kernel(now=True)


def written(notebook: Json, runs: list[CellRun], path: Path) -> None:
    """Write the notebook with the outputs of a run; a cell that differs though it may not is tagged from now on.

    Whole or not at all: what was there before is there until the new one is, also on a disk that is full.

    Raises:
        InvalidInput: the file cannot be written.
    """
    try:
        text = json.dumps(_with(runs, copy.deepcopy(notebook)), indent=1)
    except RecursionError as error:
        raise InvalidInput("The notebook is nested too deep to be written anew.", CORRECT) from error
    try:
        _replace(path, f"{text}\n")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.", "Give another --output.") from error


def _replace(path: Path, text: str) -> None:
    """Raises: OSError, and then nothing has changed."""
    if path.exists() and not path.is_file():  # a pipe, /dev/stdout: there is nothing of before to keep
        path.write_text(text, encoding="ascii")
        return
    target = path.resolve()  # behind a link: that stays one
    new = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with new.open("x", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            new.chmod(stat.S_IMODE(target.stat().st_mode))
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _with(runs: list[CellRun], notebook: Json) -> Json:
    """The notebook with the outputs of a run."""
    cells = [cell for cell in notebook["cells"] if isinstance(cell, dict) and cell.get("cell_type") == "code"]
    for cell, one in zip(cells, runs, strict=False):
        count = cell.get("execution_count")
        cell["outputs"] = one.said.outputs(count if type(count) is int else None)
        metadata = _dict(cell, "metadata")
        tags = [tag for tag in _list(metadata.get("tags")) if isinstance(tag, str)]
        tags += [RAISES] if one.said.error is not None and RAISES not in tags else []
        if one.differs and not one.why:
            _dict(metadata, KEY)["why"] = ["differed"]
            tags += [NOT_REPEATABLE]
        metadata["tags"] = list(dict.fromkeys(tags))
    return notebook


def _label(cell: CodeCell, number: int) -> str:
    role, step = cell.facts.get("role"), cell.facts.get("step")
    if role == "step" and type(step) is int:
        return f"step {step}"[:LABEL_CHARS]
    named = {"sources": "sources", "context": "a further context", "console": "a person's cell"}
    return f"cell {number}, {named.get(str(role), 'not of the session')}"[:LABEL_CHARS]


def _why(cell: CodeCell) -> tuple[Why, ...]:
    """The reasons that there are: any other word would be the file's own."""
    found = _list(cell.facts.get("why"))
    return tuple(one for one in WHYS if one in found)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(of: dict[str, Any], key: str) -> dict[str, Any]:
    """The object below a key, which is made where there is none."""
    found = of.get(key)
    if not isinstance(found, dict):
        found = of[key] = {}
    return found
