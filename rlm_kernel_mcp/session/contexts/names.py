"""What a context may be called, and what is said of it.

Is: which Python identifiers are not to be had, and words. Is not: which names a session has bound, which
its kernel says. Sans-I/O. Above: `session/registry.py`, `loads.py`. Below: errors, reports.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from typing import Final

from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.text.wording import counted

NAME_CHARS_MAX: Final = 64
RESERVED: Final = frozenset({
    *EXPLORING, "documents", "scratch", "In", "Out", "get_ipython", "exit", "quit", *dir(builtins),
})  # fmt: skip
"""What means something else in a step already."""
LINES: Final = {
    "text": "the whole text, a str; documents[{name!r}] is the same",
    "documents": "the whole text of its files, a str; documents[{name!r} + '/' + file name] is the text of one",
    "json": "what the JSON text says, as Python has it (dict, list, ...)",
}
"""What is reported about a context that was added, by its kind."""


def check_name(argument: str, name: str, taken: Iterable[str] = (), *, asking: Iterable[str] = ()) -> None:
    """Raise InvalidInput unless a context may have this name. It is an identifier, and no keyword, by now.

    `argument`: what the client calls it. `taken`: the names of the session's other contexts.
    `asking`: the names with which its code asks (`names_to_ask`).
    """
    why = ""
    if len(name) > NAME_CHARS_MAX:
        why = f"has {len(name):,} characters; a context's name has at most {NAME_CHARS_MAX}"
    elif name.startswith("_"):
        why = f"must not begin with an underscore; given: {name!r}"
    elif name in RESERVED or name in asking:
        why = f"must be a name that means nothing else; {name!r} is the session's or Python's own"
    elif name in taken:
        why = f"must be a new name; the session has a context {name!r} already"
    if why:
        raise InvalidInput(f"{argument} {why}.", "Choose another name, such as logs or data_2.")


def came(report: ContextReport) -> str:
    """What a step says of a context that came after its call was answered: what the answer could not say."""
    documents = f" in {counted(report.document_count, 'document')}" if report.kind == "documents" else ""
    lost = f"; {counted(report.undecodable_bytes, 'byte')} of it do not decode" if report.undecodable_bytes else ""
    skipped = ", ".join(f"{count:,} {kind}" for kind, count in report.skipped.items())
    left_out = f"; left out: {skipped}" if skipped else ""
    digest = f", sha256 {report.sha256}" if report.sha256 else ""
    return (
        f"{report.name} is loaded: {counted(report.chars, 'character')}{documents}, {counted(report.lines, 'line')}, "
        f"{counted(report.bytes, 'byte')}{digest}, held: {report.held}{lost}{left_out}."
        + "".join(f" {hint}" for hint in report.hints)
    )
