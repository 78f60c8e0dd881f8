"""The options of `watch`.

Is: its parser and help text. Is not: its work, which is given; nor anything heavy, since this is read before a command
is chosen. Above: `cli.py`. Below: `sessions.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlm_kernel_mcp.commands.parsing.sessions import add_session_id, port


def add_watch(commands: Any, work: Callable[[argparse.Namespace], int]) -> None:
    """Add its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "watch",
        help="show the sessions in a browser, as they run",
        description="Serve a page on loopback that shows the sessions of the state directory (RLM_STATE_DIR): each "
        "step as it runs, limits, what was searched, delivered and cited. It only reads. The address that it prints "
        "lets a browser in; whoever has it can read all sessions.",
    )
    add_session_id(parser, nargs="?")
    parser.add_argument("--port", type=port, default=0, metavar="N", help="where it listens (default: a free port)")
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="instead: write the session into FILE, which needs no server"
    )
    parser.set_defaults(command=work, parser=parser)
