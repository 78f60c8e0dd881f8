"""The builtins that a step sees under the allowlist.

A courtesy: early, clear refusals of what a session has no use for. Not a wall: code that wants the real
builtins finds them, and then the walls hold alone.
Is: the restricted builtins and the rule on attribute names. Is not: imports, which `imports.py` adds.
Above: `imports.py`. Below: `wording.py`, `wire.py`.
"""

from __future__ import annotations

import ast
import builtins
import errno
import io
import os
from collections.abc import Callable
from typing import IO, Any, Final

from IPython.core.error import InputRejected

from rlm_kernel_mcp.in_kernel.courtesies.wording import AGENT, wording
from rlm_kernel_mcp.wire import READ_ONLY_SCRATCH

DROPPED: Final = frozenset({
    "__loader__", "__spec__", "__package__", "__IPYTHON__",
    "get_ipython", "exit", "quit", "copyright", "credits", "license", "_",
})  # fmt: skip
"""Builtins that are left out: the import machinery's own, IPython's and the interactive ones of `site`."""

REFUSED: Final = {
    "compile": "eval() and exec() take plain text",
    "input": AGENT.nobody_answers,
    "breakpoint": "there is no debugger; print the values, or keep them in variables",
}
"""Builtins that are refused by name, with what to do instead."""

LEADS_OUT: Final = frozenset({
    "__globals__", "__builtins__", "__subclasses__", "__loader__", "__spec__",
    "f_globals", "f_builtins", "f_back", "gi_frame", "cr_frame", "ag_frame", "tb_frame",
})  # fmt: skip
"""Attributes that honest analysis has no use for and that lead out of the session's namespace in one step."""


class BuiltinRefused(RuntimeError):
    """The policy of this session refuses a built-in function."""


class AttributeRefused(InputRejected):
    """The code names an attribute that the policy of this session refuses; nothing of it has run."""


def restricted_builtins(scratch: str, import_: Callable[..., Any], reveal: Callable[[Any], Any]) -> dict[str, Any]:
    """The builtins of a session.

    Args:
        scratch: directory where `open` works.
        import_: the session's own `__import__`.
        reveal: gives the real module behind a facade (and anything else unchanged), for `help`.
    """
    names = {name: value for name, value in vars(builtins).items() if name not in DROPPED}
    names |= {name: refusing_stand_in(name, instead) for name, instead in REFUSED.items()}
    names |= {"__import__": import_, "open": scratch_open(scratch), "help": _help(reveal)}
    return names


def scratch_open(scratch: str) -> Callable[..., IO[Any]]:
    """The session's `open`: files in the directory `scratch` only, relative paths start there, text is UTF-8."""
    root = os.path.realpath(scratch)

    def open(  # noqa: A001  (it stands in for the builtin)
        file: str | bytes | os.PathLike[str],
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        # A descriptor has no path that could be compared with the directory.
        if isinstance(file, int):
            raise PermissionError("open() takes a path here, no file descriptor.")
        shown = os.fsdecode(file)
        # `realpath`, so that neither `..` nor a symbolic link leads out; a link that is made after this check meets
        # Landlock.
        path = os.path.realpath(os.path.join(root, shown))  # noqa: PTH118  (a name may be bytes of any kind)
        if path != root and not path.startswith(root + os.sep):
            refused = PermissionError(
                f"open({shown!r}) is refused by the policy: it works in the scratch directory only (path: `scratch`)"
                f"{wording().open_elsewhere}."
            )
            vars(refused)["path"] = shown  # for `hints.py`; as the error's `filename` it would replace these words
            raise refused
        if encoding is None and "b" not in mode:
            encoding = "utf-8"
        try:
            return io.open(path, mode, buffering, encoding, errors, newline)  # noqa: UP020
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EROFS) and not set(mode).isdisjoint("wxa+"):
                why = f"{READ_ONLY_SCRATCH} here{wording().read_only_why}: keep what you make in variables"
                # `from None`: the original error names the directory on this machine.
                raise PermissionError(error.errno, why, shown) from None
            error.filename = shown  # the path as it was given: the directory is the host's matter
            raise

    return open


def refusing_stand_in(name: str, instead: str) -> Callable[..., Any]:
    """A function that stands in for a refused one: it raises `BuiltinRefused`, which says what to do instead."""

    def refused(*args: object, **kwargs: object) -> Any:
        del args, kwargs
        raise BuiltinRefused(f"{name}() is refused by the policy of this session: {instead}.")

    refused.__name__ = refused.__qualname__ = name
    return refused


def _help(reveal: Callable[[Any], Any]) -> Callable[..., None]:
    def help(*subject: Any) -> None:  # noqa: A001  (it stands in for the builtin)
        if len(subject) != 1 or isinstance(subject[0], str):
            raise BuiltinRefused(
                "help() takes one object here, as in help(re.sub): the interactive help is not available."
            )
        import pydoc

        # Plain text: the default renderer overstrikes bold letters with backspaces.
        plain = vars(pydoc)["plaintext"]
        print(pydoc.render_doc(reveal(subject[0]), "Help on %s:", renderer=plain))  # noqa: T201

    return help


def refuse_attributes(tree: ast.AST) -> None:
    """Refuse code that spells one of the attributes of `LEADS_OUT`.

    Raises:
        AttributeRefused: names the attribute and its line.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        # `case C(__globals__=g)` reads an attribute without an ast.Attribute node.
        elif isinstance(node, ast.MatchClass):
            names = node.kwd_attrs
        else:
            continue
        for name in names:
            if name in LEADS_OUT:
                raise AttributeRefused(
                    f"line {node.lineno}: the attribute {name} is refused by the policy of this session; "
                    f"nothing of this {wording().cell} has run."
                )
