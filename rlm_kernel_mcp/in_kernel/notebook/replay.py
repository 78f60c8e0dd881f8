"""A notebook of a session that runs again in this kernel: which of its cells is which, and what a cell does instead.

Is: what the host has read from the file, and the match of a cell's source with it. A cell that somebody has edited is
a person's own, as any cell of a notebook. Is not: a wall: whatever the file says, it says to a kernel behind its walls.
Above: `in_kernel/ipython/kernel.py`, `in_kernel/ipython/control.py`. Below: `in_kernel/asking/state.py`,
`both_sides/recorded_cells.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rlm_kernel_mcp.both_sides.recorded_cells import RecordedCell, RecordedNotebook, source_digest
from rlm_kernel_mcp.in_kernel.asking.recorded import RecordedAnswers
from rlm_kernel_mcp.in_kernel.asking.state import use_recorded

LATER_MAX: Final = 64
"""Contexts that wait for their cell: each holds a descriptor."""
LOADED: Final = "pass"
"""What the first cell runs where the sources are there: its source is for kernels that have none."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is run in the place of a cell."""

    code: str
    step: int = 0
    """Number of the agent's step that it is; 0: it is none."""
    is_console: bool = False
    is_counted: bool = True
    """Whether it takes an execution count: what the notebook has beside the session's own cells does not."""
    limit_s: float = 0.0
    """After how many seconds it is interrupted; 0: by nobody."""


class Replay:
    """The notebook of one kernel; of most there is none."""

    def __init__(self) -> None:
        self._cells: list[RecordedCell] = []
        self._next = 0
        self._later: dict[str, Callable[[], Mapping[str, object]]] = {}
        self.is_open = False
        """Whether there is one."""
        self._step = 0

    def take(self, content: Mapping[str, Any], passed: Callable[[], int]) -> Mapping[str, Any]:
        """Answer the host's request that brings it. In the control thread, before any cell."""
        del content
        with os.fdopen(passed(), "rb") as file:
            found: RecordedNotebook = json.load(file)
        self._cells, self.is_open = found["cells"], True
        if found["answers"] or found["functions"]:  # else its code is told what it was told then
            answers = RecordedAnswers(found["answers"], lambda: self._step, has_children=found["has_children"])
            use_recorded(answers, dict.fromkeys(found["functions"], "answered from the notebook"))
        return {}

    def keep(self, name: str, load: Callable[[], Mapping[str, object]]) -> None:
        """A context that comes with its cell. Raises: ValueError: there are too many."""
        if len(self._later) >= LATER_MAX:
            raise ValueError(f"a notebook may add {LATER_MAX} contexts")
        self._later[name] = load

    def begin(self, code: str, *, silent: bool = False) -> Cell:
        """What a cell is, by its source. `silent`: a client asks something for itself."""
        self._step = 0
        if silent or not self.is_open or (found := self._found(code)) is None:
            return Cell(code)
        if (said := found.get("problem") or found.get("ended")) is not None:
            return Cell(f"raise RuntimeError({said!r})", is_counted=found["role"] == "step")
        if found["role"] in ("sources", "context"):
            return Cell(self._loaded(found.get("context", "")), is_counted=False)
        self._step = found.get("step", 0)
        return Cell(code, self._step, found["role"] == "console", limit_s=found.get("limit_ms", 0) / 1000)

    def _loaded(self, name: str) -> str:
        """Bind a context that has waited for its cell; returns what that runs."""
        load = self._later.pop(name, None)
        reply: Mapping[str, object] = {"status": "ok"} if load is None else load()
        if reply.get("status") == "ok":
            return LOADED
        said = f"The context {name} cannot be loaded: {reply.get('ename')}: {reply.get('evalue')}."
        return f"raise RuntimeError({said!r})"

    def _found(self, code: str) -> RecordedCell | None:
        """The next cell of that source, or else the first one before: somebody runs it once more."""
        digest = source_digest(code)
        places = [*range(self._next, len(self._cells)), *range(self._next)]
        at = next((at for at in places if self._cells[at]["source"] == digest), None)
        if at is None:
            return None
        self._next = at + 1
        found: RecordedCell = self._cells[at]
        return found
