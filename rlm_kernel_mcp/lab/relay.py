"""What passes between one page in a browser and one kernel: which requests go in, and what of the answers comes out.

Is: headers made anew on the way out, so that only the ids of requests are a kernel's word, and contents as
`kernel/untrusted/relayed/` leaves them; and of the way in the types that a locked kernel is asked by a page. Is not:
the sockets (`channels.py`). Sans-I/O. Above: `channels.py`, `kernels.py`. Below: `kernel/untrusted/messages.py`,
`kernel/untrusted/relayed/contents.py`. Source: Jupyter messaging 5.5.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rlm_kernel_mcp.kernel.untrusted.messages import parse
from rlm_kernel_mcp.kernel.untrusted.relayed.contents import STATES, relayed

Json = dict[str, Any]

VERSION: Final = "5.4"
"""Of Jupyter's messages, as a page is told."""
CELL: Final = "execute_request"
REPLY: Final = "execute_reply"
ASKED: Final[Mapping[str, frozenset[str]]] = {
    "shell": frozenset({CELL, "complete_request", "inspect_request", "is_complete_request", "history_request"}),
    "stdin": frozenset({"input_reply"}),
}
"""What a page may ask a kernel, by channel. Interrupts, restarts and ends go by the server, and never by a page's own
messages; comms and the debugger are not for a locked kernel."""
ANSWERED: Final = frozenset({"kernel_info_request", "comm_info_request"})
"""What this end answers by itself: a step of the agent's would hold the answer up, and a kernel would word it."""
REQUESTS: Final = frozenset().union(*ASKED.values(), ANSWERED)
KEPT: Final = 1_000
"""Requests of a page whose headers are kept, and cells that have no reply yet, the newest ones."""
PARTS_MAX: Final = 1_000
"""Of one message of a page's; Jupyter's have six, and buffers."""
HEADER_CHARS: Final = 256
"""Of one field of a page's header."""
INFO: Final[Json] = {
    "status": "ok",
    "protocol_version": VERSION,
    "implementation": "rlm-python",
    "implementation_version": "",
    "language_info": {
        "name": "python",
        "version": "3",
        "mimetype": "text/x-python",
        "file_extension": ".py",
        "pygments_lexer": "ipython3",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "nbconvert_exporter": "python",
    },
    "banner": "A locked-down IPython kernel of rlm-kernel-mcp.",
    "help_links": [],
    "debugger": False,
    "supported_features": [],
}
"""What every kernel here is, in our words: a kernel's own could name pages to open, and an editor's mode to load."""


@dataclass(frozen=True, slots=True)
class PageMessage:
    """One message for a page."""

    channel: str
    header: Json
    parent: Json
    content: Json


class Relay:
    """One page's end of one kernel."""

    def __init__(self) -> None:
        self._session = secrets.token_hex(16)
        """The kernel's, as the page hears it: one that changes makes a page forget what it waits for."""
        self._asked: OrderedDict[str, Json] = OrderedDict()
        self._unanswered: OrderedDict[str, None] = OrderedDict()
        """Cells of the page."""

    def ask(self, channel: str, header: object) -> Json | None:
        """A request of the page's is to go in. Its header, if it may, or if this end answers it; else None."""
        if not isinstance(header, dict):
            return None
        texts = {name: _field(header.get(name)) for name in ("msg_id", "msg_type", "session", "username", "date")}
        known: Json = {**texts, "version": VERSION}
        kind, msg_id = texts["msg_type"], texts["msg_id"]
        if not msg_id or (kind not in ASKED.get(channel, ()) and kind not in ANSWERED):
            return None
        _keep(self._asked, msg_id, known)
        if kind == CELL:
            _keep(self._unanswered, msg_id, None)
        return known

    def of_kernel(self, channel: str, frames: Sequence[bytes]) -> PageMessage | None:
        """What the page gets of a message of the kernel's; None where it gets nothing of it.

        Raises:
            BadMessage: it is no message, or past the limits.
        """
        message = parse(frames)
        if message.msg_type == "status" and message.parent_type not in REQUESTS:
            return None  # of a request of the host's, beside the cells
        content = relayed(channel, message.msg_type, message.content)
        if content is None:
            return None
        parent = self._asked.get(message.parent_id) or _parent(message.parent_id, message.parent_session)
        return self.own(channel, message.msg_type, content, parent)

    def ends_a_cell(self, message: PageMessage) -> bool:
        """Whether it is what the page waits for at the end of a cell of its own: once for each."""
        if message.header["msg_type"] != REPLY or message.parent.get("msg_id") not in self._unanswered:
            return False
        del self._unanswered[message.parent["msg_id"]]
        return True

    def own(self, channel: str, msg_type: str, content: Json, parent: Json | None = None) -> PageMessage:
        """A message with a header of ours."""
        header = {
            "msg_id": secrets.token_hex(16),
            "msg_type": msg_type,
            "session": self._session,
            "username": "kernel",
            "date": datetime.now(UTC).isoformat(),
            "version": VERSION,
        }
        return PageMessage(channel, header, parent or {}, content)

    def status(self, state: str, parent: Json | None = None) -> PageMessage:
        """What the page is told of the kernel's state."""
        return self.own("iopub", "status", {"execution_state": state}, parent)

    def notice(self, text: str, parent: Json | None = None) -> PageMessage:
        """A line of ours among the output of a cell."""
        return self.own("iopub", "stream", {"name": "stderr", "text": f"\n[{text}]\n"}, parent)

    def answers(self, asked: Json, state: str) -> list[PageMessage]:
        """All that answers a request of `ANSWERED`, and then the state that the kernel is in."""
        is_info = asked["msg_type"] == "kernel_info_request"
        content = INFO if is_info else {"status": "ok", "comms": {}}
        reply = self.own("shell", asked["msg_type"].replace("_request", "_reply"), content, asked)
        return [self.status("busy", asked), reply, self.status("idle", asked), self.status(state)]


def state_said(frames: Sequence[bytes]) -> tuple[str, str] | None:
    """The state of a kernel by a message of its own, where that is about a cell or another request of a client's.

    With the id of that request.

    Raises:
        BadMessage: it is no message, or past the limits.
    """
    message = parse(frames)
    state = message.content.get("execution_state")
    is_state = message.msg_type == "status" and message.parent_type in REQUESTS - ANSWERED
    return (state, message.parent_id) if is_state and isinstance(state, str) and state in STATES else None


def has_too_many_parts(incoming: bytes, *, is_new: bool) -> bool:
    """Whether a page's message claims more parts than there are: who believes it makes a list of as many.

    `is_new`: of the form that pages choose by now.
    """
    claimed = int.from_bytes(incoming[:8], "little") if is_new else int.from_bytes(incoming[:4], "big")
    return claimed > PARTS_MAX


def _parent(msg_id: str, session: str) -> Json:
    """The header of a request that was another client's: it tells the page only that it is none of its own."""
    if not msg_id:
        return {}
    return {
        "msg_id": msg_id,
        "session": session,
        "msg_type": CELL,
        "username": "",
        "date": "",
        "version": VERSION,
    }


def _field(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= HEADER_CHARS else ""


def _keep(kept: OrderedDict[str, Any], key: str, value: object) -> None:
    kept[key] = value
    if len(kept) > KEPT:
        kept.popitem(last=False)
