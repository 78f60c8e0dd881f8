"""A session's record from its head to its end, for a page that asks nobody for anything.

Is: all that its stream tells by the record, with the pictures in it, and the documents that were read from. Is not: the
page (`watching/exporting.py`). It waits for the disk. Above: `commands/watch.py`. Below: `history.py`, `pieces.py`,
`store/store.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final

from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.watching.messages.answers import LANES_MAX, DocumentsMessage
from rlm_kernel_mcp.watching.messages.events import Event
from rlm_kernel_mcp.watching.messages.stream import Message
from rlm_kernel_mcp.watching.record.history import History
from rlm_kernel_mcp.watching.record.pieces import PLAIN, shown
from rlm_kernel_mcp.watching.record.shaping import SVG
from rlm_kernel_mcp.watching.record.texts import cut

PICTURES_BYTES: Final = 32 << 20
"""Of all pictures in one page."""
NO_ROOM: Final = "this file has as many pictures as it may"
NO_END: Final = "it is not drawn here, as it may have no end"


def whole(store: Store, session_id: str) -> Iterator[Message | DocumentsMessage]:
    """Its messages. Raises: SessionNotFound: there is no such session, or its record is damaged."""
    history, room = History(store, session_id), PICTURES_BYTES
    yield from history.head()
    while history.is_behind:
        for message in history.take():
            if message["type"] == "events":
                for event in message["events"]:
                    room -= _with_pictures(store, session_id, event, room)
            yield message
    for name in history.maps.contexts:
        yield {"type": "documents", "context": name, **history.maps.lanes(name, LANES_MAX)}
    yield history.end()


def _with_pictures(store: Store, session_id: str, event: Event, room: int) -> int:
    """Put an event's pictures into it, as far as there is room; returns how many bytes that took."""
    used = 0
    for image in event.get("images", ()):
        sha = image.pop("sha", "")
        found = shown(store, session_id, int(event["id"]), int(sha.rpartition("-")[2])) if sha else None
        if found is None:
            continue
        if found.mime_type == PLAIN:  # its source is shown, as far as the event has it
            if image["mime"] == SVG:
                image["why"], image["source"] = NO_END, cut(found.data.decode())
        elif used + len(found.data) > room:
            image["why"] = NO_ROOM
        else:
            used += len(found.data)
            data = base64.b64encode(found.data).decode("ascii")
            image["data"] = f"data:{found.mime_type};base64,{data}"
    return used
