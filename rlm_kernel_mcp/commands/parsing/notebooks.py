"""The options of `rlm-kernel-mcp notebook`.

Is: its parser and help texts. Is not: its work, which is given; nor anything heavy, since this is read before a command
is chosen. Above: `cli.py`. Below: the standard library.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

CELL_S: Final = 600
DIGITS_MAX: Final = 9
ROOTS: Final = "RLM_CONTEXT_ROOTS"


def add_notebook(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], run_again: Callable[[argparse.Namespace], int]
) -> None:
    """Add its parser. `run_again`: what `notebook run` does."""
    parser = commands.add_parser(
        "notebook",
        help="run a session's notebook again",
        description="What `trace SESSION_ID --format notebook` wrote, run again.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run = actions.add_parser(
        "run",
        help="run it from top to bottom over the same sources, and compare",
        description="Run a notebook from top to bottom in a kernel of its own, over the sources that it names, and "
        "compare what each cell says with what it said. Sources are read only below the roots, and only those that "
        "have the hash of then. What its code asked is answered from the notebook. Exit status 0: all cells that can "
        "say the same do.",
    )
    run.add_argument("file", metavar="FILE", type=Path, help="the notebook")
    run.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help=f"directory below which sources are read, and where relative paths begin (default: {ROOTS}, or the "
        "working directory; and where they began then)",
    )
    run.add_argument("--output", type=Path, metavar="FILE", help="write the notebook with the new outputs there")
    run.add_argument(
        "--cell-timeout",
        type=_seconds,
        default=CELL_S,
        metavar="SECONDS",
        help=f"after which a cell is interrupted (default: {CELL_S})",
    )
    run.set_defaults(command=run_again, parser=run)


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS_MAX or not 1 <= int(text) <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of seconds from 1 to 86400")
    return int(text)
