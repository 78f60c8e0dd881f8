"""The command line: parsing and help texts; each command's work is a module of `commands/`, or `server/app.py`.

Is: fronts only, with nothing heavy imported before a command is chosen. Is not: the work, nor the options of commands
about sessions and notebooks (`commands/parsing/`). Exit status: 0 done, 1 the command found something wrong, 2 it was
asked wrongly or the set-up is lacking, 130 interrupted; of `trace --follow` also 3 and 4
(`watching/record/news.py`). Above: the console script and `__main__.py`. Below: settings, errors, commands.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.commands.inherited import drop, settle, working_directory
from rlm_kernel_mcp.commands.parsing.clusters import add_cluster
from rlm_kernel_mcp.commands.parsing.lab import add_lab
from rlm_kernel_mcp.commands.parsing.notebooks import add_notebook
from rlm_kernel_mcp.commands.parsing.sessions import add_sessions, directory
from rlm_kernel_mcp.commands.parsing.watching import add_watch
from rlm_kernel_mcp.commands.showing.words import ELSEWHERE
from rlm_kernel_mcp.errors import InvalidInput, RlmError
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.variables.table import TABLE

DESCRIPTION: Final = "A locked-down IPython kernel per session, served to coding agents over MCP."

INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, that of this process where none is given; returns the exit status."""
    closed = settle()
    told = io.StringIO()  # argparse hides a failed write, so what it says is kept here first
    try:
        with contextlib.redirect_stdout(told):
            options, beyond = build_parser().parse_known_args(arguments)
            if beyond:  # argparse would show the usage of the whole program
                options.parser.error(f"unrecognized arguments: {' '.join(beyond)}")
    except SystemExit as end:
        if end.code == 0 and (status := _ended(lambda: _print(told.getvalue()), closed & {"stdout"})):
            raise SystemExit(status) from None
        _say("")
        raise
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")
    needed = {"stdin", "stdout"} if options.command is _serve else {"stdout"}
    return _ended(lambda: options.command(options), closed & needed)


def _print(text: str) -> int:
    print(text, end="")
    return 0


def _ended(work: Callable[[], int], closed: AbstractSet[str]) -> int:
    """Do the work; returns the exit status, also where the work or the writing of its output fails."""
    if closed:
        return _refuse_closed(closed)
    try:
        status = work()
        sys.stdout.flush()
    except RlmError as error:
        return _complain(error, 2 if isinstance(error, InvalidInput) else 1)
    except KeyboardInterrupt:
        drop(1)
        return INTERRUPTED
    except OSError as error:
        drop(1)
        if isinstance(error, BrokenPipeError):  # the reader has seen enough
            return 0
        named = f" ({error.filename})" if error.filename else ""
        _say(f"rlm-kernel-mcp: {error.strerror or error}{named}.\n")
        return 1
    _say("")
    return status


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="rlm-kernel-mcp",
        description=DESCRIPTION,
        epilog="Without a command it serves too, by one host for all of your clients where there can be one.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_kernelspec(commands)
    _add_doctor(commands)
    work = {"sessions": _sessions, "trace": _trace, "attach": _attach, "kill": _kill, "resume": _resume}
    add_sessions(commands, {**work, "files": _files})
    add_watch(commands, _watch)
    add_notebook(commands, _run_notebook)
    add_lab(commands, _lab)
    add_cluster(commands, _cluster)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "serve",
        help="serve MCP on stdio in this process, whatever RLM_HOST says",
        description="Serve MCP on stdin and stdout in this process, until the input ends. stdout carries the protocol "
        "only, the log goes to stderr. Every option is also an environment variable; the option wins.",
    )
    for row in TABLE:
        known = f"; one of: {', '.join(row.choices)}" if row.choices else ""
        parser.add_argument(
            row.option,
            dest=row.variable,
            metavar="VALUE",
            help=f"{row.meaning}{known} (variable {row.variable}; default: {row.default})".replace("%", "%%"),
        )
    parser.set_defaults(command=_serve, parser=parser)


def _add_kernelspec(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "kernelspec",
        help="install, list or remove the kernelspec for other Jupyter clients",
        description="The MCP server needs no installed kernelspec. JupyterLab, `jupyter console --kernel rlm-python` "
        "and others do; they then get the same locked-down kernel.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    install = actions.add_parser(
        "install",
        help="put it where Jupyter looks",
        description="Put it where Jupyter looks; also rlm-python-data, with numpy and pandas, if [data] is installed.",
    )
    install.set_defaults(command=_install_kernelspec, parser=install)
    remove = actions.add_parser("remove", help="take it away again", description="Delete what install put there.")
    remove.set_defaults(command=_remove_kernelspec, parser=remove)
    for action in (install, remove):
        place = action.add_mutually_exclusive_group()
        place.add_argument("--user", action="store_true", help="the user's own directory (the default)")
        place.add_argument(
            "--prefix", type=directory, metavar="DIR", help="the environment at DIR (DIR/share/jupyter/kernels)"
        )
        place.add_argument(
            "--sys-prefix", action="store_true", help="the environment of the Python that runs this command"
        )
    listing = actions.add_parser(
        "list", help="show the installed copies", description="Show the installed copies, the one that wins first."
    )
    listing.set_defaults(command=_list_kernelspecs, parser=listing)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="say what holds on this machine and what is missing",
        description="Raise every wall in a process of its own, start one kernel as the server does and one as another "
        "Jupyter client does, and say what holds and how to fix what does not. Settings come from the environment, as "
        "for serve. Exit status 0: every required wall holds, both kernels start, and with --ask there was an answer.",
    )
    parser.add_argument("--ask", action="store_true", help="also ask the model of RLM_SUBCALL_BACKEND a short question")
    parser.set_defaults(command=_doctor, parser=parser)


def _settings(options: argparse.Namespace | None = None, *, here: bool = False) -> Settings:
    """`here`: for a command that looks at this machine's record, and says so where the sessions are elsewhere."""
    given = ((row.variable, getattr(options, row.variable, None)) for row in TABLE)
    options_given = {variable: value for variable, value in given if value is not None}
    settings = load_settings(working_directory(), os.environ, options_given)
    _say(ELSEWHERE if here and settings.cluster else "")
    return settings


def _serve(options: argparse.Namespace) -> int:
    settings = _settings(options)
    from rlm_kernel_mcp.front.becoming import HANDED, WITHOUT
    from rlm_kernel_mcp.notebook.asked import notebook_of_session
    from rlm_kernel_mcp.server.app import run
    from rlm_kernel_mcp.session.callers.profiles import require_kernelspec

    require_kernelspec(settings)
    run(settings, os.environ, notebook_of_session, os.environ.pop(HANDED, ""), os.environ.pop(WITHOUT, ""))


def _install_kernelspec(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.kernelspecs import install

    return install(_prefix(options))


def _remove_kernelspec(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.kernelspecs import remove

    return remove(_prefix(options))


def _list_kernelspecs(_options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.kernelspecs import list_installed

    return list_installed()


def _prefix(options: argparse.Namespace) -> Path | None:
    return Path(sys.prefix) if options.sys_prefix else options.prefix


def _doctor(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.doctoring.doctor import doctor

    return doctor(_settings(), os.environ, ask=options.ask)


def _sessions(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.sessions import list_sessions

    return list_sessions(_settings(here=True), os.environ, ended_too=options.ended_too, as_json=options.json)


def _trace(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.trace import traced

    return traced(_settings(here=True), options)


def _attach(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.attach import attach

    return attach(_settings(here=True), options.session_id, only_print=options.only_print)


def _kill(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.kill import kill

    return kill(_settings(here=True), os.environ, options.session_id, forget=options.forget)


def _resume(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.resume import resume

    return resume(_settings(here=True), os.environ, options.session_id, as_json=options.json)


def _files(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.files import files

    return files(_settings(here=True), os.environ, options.session_id, out=options.out, as_json=options.json)


def _watch(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.watch import export, watch

    if options.export is None:
        return watch(_settings(here=True), os.environ, options.session_id, options.port)
    if options.session_id is None:
        raise InvalidInput("--export writes one session, and none is named.", "Give its SESSION_ID.")
    return export(_settings(here=True), options.session_id, options.export)


def _run_notebook(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.notebooks import run

    return run(options)


def _lab(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.lab import lab

    return lab(_settings(here=True), os.environ, options.port, browser=options.browser, only_print=options.only_print)


def _cluster(options: argparse.Namespace) -> int:
    from rlm_kernel_mcp.commands.clustering.actions import act

    return act(_settings(), os.environ, options)


def _refuse_closed(closed: AbstractSet[str]) -> int:
    _say(f"rlm-kernel-mcp: closed: {', '.join(sorted(closed))}. Nothing was done.\n")
    return 2


def _complain(error: RlmError, status: int) -> int:
    _say(f"rlm-kernel-mcp: {error.message}\n{error.next_step}\n")
    return status


def _say(text: str) -> None:
    """Write to stderr and flush it; where that fails, the exit status has to do."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        drop(2)
