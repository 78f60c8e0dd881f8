"""A session's notebook for whoever asks for it over MCP: as the record has it by now, within a bound.

Is: the text, written in a thread, and what is said where it would be too large. Is not: the notebook
(`writing/record.py`), nor MCP. What it needs is imported when it is called: a server is started by way of this. Above:
`cli.py`, `host/kinds/pipes.py`. Below: `writing/record.py`, `session/registry.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry
    from rlm_kernel_mcp.store.store import Store

CHARS_MAX: Final = 4_000_000
"""Of the file, as of a final text: a client holds it whole, and a message is made of it in the loop of all clients."""
ROW_CHARS: Final = 600
"""Of a question beside its answer, about."""


async def notebook_of_session(registry: Registry, session_id: str) -> tuple[str, int]:
    """The notebook of a session, and how many of its events are damaged and so not in it.

    Raises:
        SessionNotFound: there is no such session, or its record is damaged. InvalidInput: it is too large.
    """
    from rlm_kernel_mcp.store.reading import in_reader

    await registry.complete_trace(session_id, None, None)
    return await in_reader(lambda: written(registry.store, session_id))


def written(store: Store, session_id: str) -> tuple[str, int]:
    """The same from a store. It waits for the disk."""
    from rlm_kernel_mcp.notebook.writing.record import notebook_of, text_of

    # Sizes first: what is too large is not read, let alone held.
    size = sum(head.text_bytes for head in store.heads(session_id)) + store.displays.kept_bytes(session_id)
    size += ROW_CHARS * len(store.subcalls.rows(session_id))
    if size > CHARS_MAX:
        raise _too_large(session_id)
    notebook, damaged = notebook_of(store, session_id)
    pieces, size = list[str](), 0
    for piece in text_of(notebook):
        size += len(piece)
        if size > CHARS_MAX:
            raise _too_large(session_id)
        pieces.append(piece)
    return "".join(pieces), damaged


def _too_large(session_id: str) -> InvalidInput:
    return InvalidInput(
        f"The notebook of session {session_id} would have more than {CHARS_MAX:,} characters, which is the most that "
        "is given to a client.",
        f"Have the user write it: rlm-kernel-mcp trace {session_id} --format notebook > {session_id}.ipynb",
    )
