"""The options of `lab`.

Is: its parser and help text. Is not: its work, which is given; nor anything heavy. Above: `cli.py`. Below:
`sessions.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from rlm_kernel_mcp.commands.parsing.sessions import port


def add_lab(commands: Any, work: Callable[[argparse.Namespace], int]) -> None:
    """Add the parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "lab",
        help="open JupyterLab on the kernels of live sessions",
        description="Serve JupyterLab on 127.0.0.1 with the kernels of all live sessions, each under its session's id: "
        "to see and change the agent's variables. They come and go by themselves. What you run appears in the trace as "
        "`console` and is not a step; interrupting reaches your own cells alone, and restarting or shutting down is "
        "refused (`rlm-kernel-mcp kill` does that). Of output you see text, PNG and JPEG. Nothing that is not locked "
        "can be reached: no terminal, no other kernel, no file but the documents that you make there.",
    )
    parser.add_argument("--port", type=port, default=0, metavar="N", help="where to listen (default: any free port)")
    parser.add_argument("--no-browser", action="store_false", dest="browser", help="only say where it listens")
    parser.add_argument(
        "--print-config",
        action="store_true",
        dest="only_print",
        help="instead: the lines by which a Jupyter server of your own lists these kernels",
    )
    parser.set_defaults(command=work, parser=parser)
