"""What a page asks for beside a session's stream: the rest of a text, a picture, the names that are bound.

Is: one answer each, within its bound. Is not: the map (`maps.py`). It waits for the disk. Above:
`watching/web/app.py`, `whole.py`. Below: `texts.py`, `shaping.py`, `kernel/untrusted/shown/`, `store/store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.kernel.untrusted.shown.displays import PICTURES
from rlm_kernel_mcp.kernel.untrusted.shown.drawings import can_be_drawn
from rlm_kernel_mcp.session.trace.events import extra_of
from rlm_kernel_mcp.session.trace.facts import FACTS
from rlm_kernel_mcp.session.trace.rows import updated_of
from rlm_kernel_mcp.store.store import EventRow, Store
from rlm_kernel_mcp.text.surrogates import decoded
from rlm_kernel_mcp.watching.messages.answers import NAMES_TOLD, Files, Name, Names, Piece
from rlm_kernel_mcp.watching.record.shaping import NAME_CHARS, SVG, WHY_CHARS
from rlm_kernel_mcp.watching.record.texts import error_in, piece

Field = Literal["code", "stdout", "stderr", "result", "answer", "evalue", "traceback"]
FIELDS: Final[tuple[Field, ...]] = get_args(Field)
PLAIN: Final = "text/plain; charset=utf-8"
OLDER: Final = "restored as it was"
"""How the reason begins why a name has an older value."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a step displayed, as it is served: a picture as one, any other text as its source.

    SVG is a picture too, if a browser comes to its end: a few lines of it may be a billion shapes (decision 0173).
    """

    mime_type: str
    data: bytes


def text_piece(store: Store, session_id: str, event_id: int, field: Field, start: int) -> Piece:
    """A part of a text of an event, from a character on.

    Raises:
        SessionNotFound: there is no such event, or its texts are damaged.
    """
    head = store.head(session_id, event_id)
    texts = None if head is None else store.texts(head)
    if texts is None:
        raise SessionNotFound(
            f"Session {session_id} has no event {event_id} that can be read.", "The stream of the session has those."
        )
    if field in ("evalue", "traceback"):
        return piece(str(error_in(texts).get(field) or "").encode("utf-8", "surrogatepass"), start)
    return piece(texts.get("result" if field == "answer" else field), start)


def shown(store: Store, session_id: str, event_id: int, number: int) -> Shown | None:
    """What an event displayed; None: it has nothing of that number, or it is not kept."""
    rows = store.displays.of(session_id, event_id)
    if not 0 <= number < len(rows) or (data := rows[number].data) is None:
        return None
    kind = rows[number].mime_type
    if kind in PICTURES or (kind == SVG and can_be_drawn(decoded(data))):
        return Shown(kind, data)
    return Shown(PLAIN, decoded(data).encode("utf-8", "replace"))


def source_piece(store: Store, session_id: str, event_id: int, number: int, start: int) -> Piece:
    """A part of the source of what an event displayed, from a character on; of a picture that is none an empty one.

    Raises:
        SessionNotFound: it has displayed nothing of that number, or it is not kept.
    """
    rows = store.displays.of(session_id, event_id)
    if not 0 <= number < len(rows) or (data := rows[number].data) is None:
        raise SessionNotFound(
            f"Event {event_id} of session {session_id} has displayed nothing of number {number} that is kept."
        )
    return piece(b"" if rows[number].mime_type in PICTURES else data, start)


def names_of(store: Store, session_id: str) -> Names:
    """The names that the session's steps have bound, the newest first, and what restores have made of them.

    Raises:
        SessionNotFound: there is no such session.
    """
    if not store.knows(session_id):
        raise SessionNotFound(f"There is no session {session_id!r}.")
    found: dict[str, Name] = {}
    for head in store.heads(session_id):
        row = head.row
        if row.action == "restore":
            _restore(found, row)
        elif row.action == "run_repl":
            for one in updated_of(row):
                found.pop(one.name, None)  # it comes to the end
                name, kind = one.name[:NAME_CHARS], one.type[:NAME_CHARS]
                found[one.name] = {"name": name, "type": kind, "size": one.size, "step": row.step_index}
    names = [*reversed(found.values())]
    return {"names": names[:NAMES_TOLD], "more": max(len(names) - NAMES_TOLD, 0)}


def files_of(session_id: str) -> Files:
    """The record has no files: what lists them asks the kernel."""
    return {"files": [], "words": f"rlm-kernel-mcp files {session_id} lists what its code has written"}


def _restore(found: dict[str, Name], row: EventRow) -> None:
    facts = extra_of(row).get(FACTS)
    lost = facts.get("lost") if isinstance(facts, dict) else None
    for one in lost if isinstance(lost, list) else ():
        name = found.get(str(one.get("name"))) if isinstance(one, dict) else None
        if name is not None:
            name["why"] = str(one.get("why"))[:WHY_CHARS]
            name["fate"] = "older" if name["why"].startswith(OLDER) else "gone"
