"""`rlm-kernel-mcp notebook`: a session's notebook, run again over the same sources and compared.

Is: what is printed, and the exit status: 0 the outputs are the same, 1 they are not, 2 it was asked wrongly. Is not:
its options (`parsing/notebooks.py`), nor the run. Above: `cli.py`. Below: `notebook/running/rerun.py`, `reads.py`,
`showing/progress.py`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.commands.inherited import working_directory
from rlm_kernel_mcp.commands.parsing.notebooks import ROOTS
from rlm_kernel_mcp.commands.showing.progress import CONTEXT_BYTES, draw, shown_while
from rlm_kernel_mcp.commands.showing.terminal import is_terminal
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.running.reads import READS
from rlm_kernel_mcp.notebook.running.rerun import CellRun, Rerun, written
from rlm_kernel_mcp.session.contexts.given import Progress
from rlm_kernel_mcp.settings import load_settings

INDENT: Final = "    "
PROBLEM_CHARS: Final = 4_000


def run(options: Namespace) -> int:
    """Run one again, and say of each cell whether it says the same.

    Raises:
        InvalidInput: the file is not a session's notebook, or the root no directory.
    """
    here = Path(working_directory())
    root = None if options.root is None else (here / options.root).resolve()
    if root is not None and not root.is_dir():
        raise InvalidInput(f"--root {options.root} is not a directory.", "Give the directory that has the sources.")
    if root is not None and os.pathsep in str(root):  # else each part of it would be a root of its own
        raise InvalidInput(
            f"--root {options.root} has a {os.pathsep!r} in its path, which stands between roots in {ROOTS}.",
            "Give a directory whose path has none.",
        )
    given = {} if root is None else {ROOTS: str(root)}
    settings = load_settings(here, os.environ, given)
    rerun = Rerun(here / options.file, settings, None if root is None else str(root), options.cell_timeout)
    runs = asyncio.run(_ran(rerun))
    if options.output is not None:
        written(rerun.notebook, runs, here / options.output)
    return _sum(runs)


async def _ran(rerun: Rerun) -> list[CellRun]:
    """Run it; until its first cell has run a person sees how far its sources are read."""
    reads: list[Progress] = []
    READS.set(reads)

    async def look() -> tuple[int, int]:
        return sum(one.loaded_bytes for one in reads), sum(one.bytes for one in reads)

    def told(one: CellRun) -> None:
        reads.clear()
        if is_terminal(sys.stderr):
            draw("")
        print(_line(one), flush=True)

    return await shown_while(rerun.run(told), look, CONTEXT_BYTES)


def _line(one: CellRun) -> str:
    """What became of a cell."""
    if one.problem:  # words of the notebook's own code may be in it, so no line of it begins as one of ours
        return f"{one.label}: {INDENT.join(one.problem[:PROBLEM_CHARS].splitlines(keepends=True))}".rstrip()
    if not one.differs:
        return f"{one.label}: the same"
    why = f" (it may: {', '.join(one.why)})" if one.why else ""
    return f"{one.label}: differs in {', '.join(one.differs)}{why}"


def _sum(runs: list[CellRun]) -> int:
    bad = [one for one in runs if one.problem or (one.differs and not one.why)]
    may = sum(1 for one in runs if one.differs and one.why and not one.problem)
    same = len(runs) - len(bad) - may
    print(f"{same:,} of {len(runs):,} cells say the same; {may:,} differ that may; {len(bad):,} differ or failed.")
    return 1 if bad else 0
