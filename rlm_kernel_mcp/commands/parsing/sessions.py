"""The options of the commands that are about sessions: list, read, attach, end, bring back, take files out.

Is: their parsers and help texts. Is not: their work, which is given; nor anything heavy, since this is read before a
command is chosen. Above: `cli.py`. Below: the standard library.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

PORT_MAX: Final = 65_535
Work = Mapping[str, Callable[[argparse.Namespace], int]]
"""What each command does, by its name."""


def add_sessions(commands: argparse._SubParsersAction[argparse.ArgumentParser], work: Work) -> None:
    """Add the parsers of those commands."""
    for add in (_add_sessions, _add_trace, _add_attach, _add_kill, _add_resume, _add_files):
        parser = add(commands)
        parser.set_defaults(command=work[parser.prog.rpartition(" ")[2]], parser=parser)


def _add_sessions(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "sessions",
        help="list the live sessions of your servers, and their hosts",
        description="List the live sessions of the state directory (RLM_STATE_DIR), the last used first: those in "
        "which something can still be run. One that no server drives just now comes back when it is used.",
    )
    parser.add_argument("--all", action="store_true", dest="ended_too", help="also ended ones (default: live ones)")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts, instead of tables")
    return parser


def _add_trace(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "trace",
        help="print the trace of a session",
        description="Print what was done in a session, live or ended, with code and output in full. With --follow the "
        "exit status says how the session is over: 0 with an answer, 3 with one that came after a limit had stopped "
        "it, 4 without one.",
    )
    add_session_id(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--format",
        choices=("text", "json", "jsonl", "notebook", "html"),
        default="text",
        help="text for reading (the default), one JSON array, one JSON object a line, a notebook that runs again, or "
        "that notebook as a page (needs nbconvert)",
    )
    form.add_argument("--json", action="store_true", help="the same as --format jsonl")
    parser.add_argument("--follow", action="store_true", help="and what happens then, until it is final, or Ctrl-C")
    parser.add_argument("--children", action="store_true", help="and, below its questions, of its child sessions")
    parser.add_argument(
        "--question",
        metavar="N",
        type=int,
        help="instead: all of the question N, and its answer, of which the trace has the beginnings",
    )
    form.add_argument("--annotations", action="store_true", help="what the final answer cites, as W3C annotations")
    return parser


def _add_attach(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "attach",
        help="open jupyter console on a session's kernel",
        description="Open jupyter console on the kernel of a session that a server drives: to see and change the "
        "agent's variables. What you run appears in the trace as `console` and is not a step; exit and Ctrl-D leave "
        "the session alive. Without an id it is the only session that has a kernel, or the one that you choose.",
    )
    add_session_id(parser, nargs="?")
    parser.add_argument(
        "--print",
        action="store_true",
        dest="only_print",
        help="only print the connection file's path, for another client",
    )
    return parser


def _add_kill(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "kill",
        help="end a session's kernel, whoever uses it",
        description="End the kernel of a session that a host drives, and the step or cell that runs in it. Its values "
        "are kept, those of a running step up to the one before, and the next use brings them back.",
    )
    add_session_id(parser)
    parser.add_argument(
        "--forget",
        action="store_true",
        help="keep nothing of the session: neither its values nor its record, with all steps and the answer, nor those "
        "of its child sessions",
    )
    return parser


def _add_resume(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "resume",
        help="start a session's kernel again, and say what came back",
        description="Start the kernel of a session that has none, in the host of your clients, and say which values "
        "came back and which are gone. Without clients a host ends after a minute, and its kernels with it; the values "
        "stay kept.",
    )
    add_session_id(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    return parser


def _add_files(commands: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        "files",
        help="list what a session's code has written into its scratch directory, or take it out",
        description="List the files in the scratch directory of a session whose kernel a host has, also while a step "
        "runs. Names and sizes are the kernel's word. With --out the files are written into a directory, under names "
        "in which nothing acts or leads elsewhere; what is there already is not written over. Exit status 1: not all "
        "of them were taken out.",
    )
    add_session_id(parser)
    parser.add_argument("--out", metavar="DIR", type=directory, help="write the files into DIR, which may be new")
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts, instead of a table")
    return parser


def directory(text: str) -> Path:
    """A directory that an option names."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty; give a directory")
    return Path(text)


def port(text: str) -> int:
    """A port that an option names, 0 for any free one."""
    if not text.isascii() or not text.isdigit() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port; give a number, 0 for any free one: no port is above {PORT_MAX:,}"
        )
    return int(text)


def add_session_id(command: argparse.ArgumentParser, **how: Any) -> None:
    """Have a command ask for a session."""
    command.add_argument(
        "session_id", metavar="SESSION_ID", type=_id_given, help="as rlm_init_context and `sessions` show it", **how
    )


def _id_given(text: str) -> str:
    """A session's id. Bytes that are not Unicode become escapes, and such an id matches no session."""
    return text.encode("utf-8", "backslashreplace").decode()
