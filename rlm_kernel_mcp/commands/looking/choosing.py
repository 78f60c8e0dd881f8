"""Which session a command is about that names none: the only one that has a kernel, or the one that a person chooses.

Is: the question, on the terminal. Is not: what is done with it. Above: `attach.py`. Below: `live.py`.
"""

from __future__ import annotations

import sys
from typing import Final

from rlm_kernel_mcp.commands.looking.live import has_kernel, named
from rlm_kernel_mcp.commands.showing.heading import one_line
from rlm_kernel_mcp.commands.showing.terminal import is_terminal
from rlm_kernel_mcp.errors import InvalidInput, SessionNotFound
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.text.safe_text import safe_text

PURPOSE_CHARS: Final = 60
"""Of what a session is for, where several are shown."""


def the_one(store: Store) -> SessionRecord:
    """The session.

    Raises:
        SessionNotFound: none has a kernel. InvalidInput: there are several, and nobody is there to choose, or has.
    """
    found = [record for record in store.sessions() if has_kernel(store, record)]
    found.sort(key=lambda record: record.last_used_at, reverse=True)
    if not found:
        raise SessionNotFound(
            "No session has a kernel just now.",
            "List them with `rlm-kernel-mcp sessions`; `rlm-kernel-mcp resume` starts the kernel of an idle one.",
        )
    return found[0] if len(found) == 1 else _chosen(found)


def _chosen(found: list[SessionRecord]) -> SessionRecord:
    """By its place in the list, or by its id. The question is no output: that may be taken by a program."""
    if not is_terminal(sys.stdin, sys.stderr):
        ids = named([record.session_id for record in found])
        raise InvalidInput(f"{len(found):,} sessions have a kernel: {ids}.", "Name one of them.")
    for place, record in enumerate(found, 1):
        purpose = one_line(record.question or record.kind)[:PURPOSE_CHARS]
        print(f"{place:>3}  {record.session_id}  {record.last_used_at}  {purpose}", file=sys.stderr)
    print("Which one? ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline().strip()
    wanted = {str(place): record for place, record in enumerate(found, 1)} | {one.session_id: one for one in found}
    if answer not in wanted:
        said = f"{safe_text(answer)!r} is none of these sessions." if answer else "None was chosen."
        raise InvalidInput(said, "Choose by the number or by the id, or name the session.")
    return wanted[answer]
