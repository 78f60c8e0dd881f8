"""Which of IPython's magics a step may use, and the one way out of `exit`.

A courtesy: what would start a process, read a file or wait for a person is refused by name and at once. Not a wall:
the walls let no process start.
Is: the names. Is not: IPython's parsing of `%`, `!` and `?`, which stays as it is.
Above: `in_kernel/ipython/app.py`. Below: `wording.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

from IPython.core import page
from IPython.core.alias import Alias
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.error import UsageError

from rlm_kernel_mcp.in_kernel.courtesies.wording import wording

ALLOWED: Final = {
    "%": frozenset({
        "time", "timeit", "who", "who_ls", "whos", "pprint", "precision", "lsmagic", "pinfo", "pinfo2", "pdoc", "pdef",
        "psearch",
    }),
    "%%": frozenset({"time", "timeit", "capture"}),
}  # fmt: skip
"""Line and cell magics that the allowlist mode admits."""

NEEDS_PROCESS: Final = frozenset({
    "!", "sx", "system", "sc", "script", "bash", "sh", "perl", "ruby", "python", "python2", "python3", "pypy",
    "pip", "conda", "mamba", "micromamba", "uv", "edit", "ed", "man", "qtconsole", "pastebin",
})  # fmt: skip
"""Magics that no mode admits: they start a process."""

_NO_DEBUGGER: Final = "the frames of an error are not kept for a debugger; its traceback is shown"
NEVER: Final = {"debug": _NO_DEBUGGER, "pdb": _NO_DEBUGGER, "connect_info": "it would print the kernel's key"}
"""Magics that no mode admits for another reason."""

_INSTALLERS: Final = frozenset({"pip", "pip3", "conda", "mamba", "micromamba", "uv"})
NO_PACKAGES: Final = "no package can be installed in a session"
_INSTEAD: Final = {
    **dict.fromkeys(("load", "run", "writefile", "cat"), "open() reads and writes files in the directory `scratch`"),
    **dict.fromkeys(("bash", "sh", "script", "sx", "system", "python", "python3"), "no process can be started"),
    **NEVER,
    **dict.fromkeys(("html", "svg", "markdown", "latex", "javascript", "js"), "print() shows text"),
    "matplotlib": "a figure is shown by itself, as the last line or by display()",
}
"""What to do instead of some magics."""


class MagicRefused(RuntimeError):
    """The policy of this session refuses a magic or a shell command."""


class SessionExit(ZMQExitAutocall):
    """`exit` and `quit`: an agent's step ends, a console leaves the session alive; for others they are ipykernel's."""

    def __call__(self, keep_kernel: Any = False) -> None:
        """Tell the client to leave; a session's kernel stays, whatever `keep_kernel` says.

        Raises:
            SystemExit: in an agent's step, whose next line must not run.
        """
        shell: Any = self._ip
        if shell.runs_for_agent:
            raise SystemExit("exit() ended this step; the session and its names stay")
        super().__call__(keep_kernel or shell.kernel.owned)

    def __repr__(self) -> str:
        return wording().exit_does


class MagicsOnly:
    """What `get_ipython()` returns in a step under the allowlist: the magics, and nothing else of the shell."""

    __slots__ = ("getoutput", "run_cell_magic", "run_line_magic", "system")

    def __init__(self, shell: Any) -> None:
        line_magic = shell.run_line_magic
        # The magic looks for the step's frame this many frames up: one more because of this object.
        self.run_line_magic = lambda name, line, _stack_depth=1: line_magic(name, line, _stack_depth + 1)
        self.run_cell_magic = shell.run_cell_magic
        self.system = shell.system
        self.getoutput = shell.getoutput

    def __getattr__(self, name: str) -> Any:
        """Refuse everything else."""
        raise AttributeError(f"get_ipython() offers the magics only in this session, no {name!r}", name=name)


def install_magic_policy(shell: Any, mode: str) -> None:
    """Refuse magics by the policy's mode: `allowlist` admits `ALLOWED`, `any` all that need no process."""
    # The bound methods are kept before the shell gets the checking ones.
    line_magic, cell_magic = shell.run_line_magic, shell.run_cell_magic
    check = (_check_allowed if mode == "allowlist" else _check_needs_no_process)(shell.magics_manager.magics)

    def run_line_magic(magic_name: str, line: str, _stack_depth: int = 1) -> Any:
        check("%", magic_name)
        if magic_name == "lsmagic" and mode == "allowlist":
            print(*(f"{mark}{known}" for mark, names in ALLOWED.items() for known in sorted(names)))  # noqa: T201
            return None
        return line_magic(magic_name, line, _stack_depth + 1)

    def run_cell_magic(magic_name: str, line: str, cell: str) -> Any:
        check("%%", magic_name)
        return cell_magic(magic_name, line, cell)

    shell.run_line_magic, shell.run_cell_magic = run_line_magic, run_cell_magic
    # All five, since IPython calls one or another depending on the platform and on how the command is written.
    for name in ("system", "system_piped", "system_raw", "getoutput", "getoutput_detail"):
        setattr(shell, name, _refuse_command)
    shell.set_hook("show_in_pager", page.as_hook(functools.partial(_show_page, shell)), 0)
    shell.exiter = SessionExit(shell)
    names = {"exit": shell.exiter, "quit": shell.exiter}
    if mode == "allowlist":
        front = MagicsOnly(shell)

        def get_ipython() -> MagicsOnly:
            """The magics of this session."""
            return front

        names["get_ipython"] = get_ipython
    shell.user_ns.update(names)
    shell.user_ns_hidden.update(names)


def _show_page(shell: Any, text: Any, start: int = 0, screen_lines: int = 0, pager_cmd: str | None = None) -> None:
    """Show what `obj?` says in the client's pager; to an agent, which has none, as output."""
    if shell.runs_for_agent:
        page.display_page(text, start, screen_lines)
    else:
        shell.payloadpage_page(text, start, screen_lines, pager_cmd)


def _refuse_command(command: str, *args: object, **kwargs: object) -> None:
    del args, kwargs
    first = command.split(maxsplit=1)[0] if command.strip() else ""
    instead = f"{NO_PACKAGES}; {wording().add_any}" if first in _INSTALLERS else "use Python"
    raise MagicRefused(
        f"the shell command {command[:80]!r} is refused: no process can be started in a session; {instead}."
    )


def _check_allowed(magics: Mapping[str, Any]) -> Callable[[str, str], None]:
    def check(mark: str, name: str) -> None:
        if name in ALLOWED[mark]:
            return
        if not any(name in known for known in (*magics.values(), _INSTALLERS, _INSTEAD)):
            raise UsageError(f"there is no magic {mark}{name[:80]}; %lsmagic lists those that are allowed.")
        instead = f"{NO_PACKAGES}; {wording().add_any}" if name in _INSTALLERS else _INSTEAD.get(name, "")
        raise MagicRefused(
            f"{mark}{name} is refused by the policy of this session{': ' if instead else ''}{instead}. %lsmagic lists "
            "those that are allowed."
        )

    return check


def _check_needs_no_process(magics: Mapping[str, Any]) -> Callable[[str, str], None]:
    def check(mark: str, name: str) -> None:
        alias = isinstance(magics["line"].get(name), Alias)
        if name in NEEDS_PROCESS or (alias and mark == "%"):
            raise MagicRefused(f"{mark}{name} is refused: no process can be started in a session.")
        if name in NEVER:
            raise MagicRefused(f"{mark}{name} is refused: {NEVER[name]}.")

    return check
