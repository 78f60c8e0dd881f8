"""One page's connection to one kernel, over jupyter_server's WebSocket and the kernel's own sockets.

Is: each message of the page looked at before it goes in, and each of the kernel's made anew before it goes out
(`relay.py`), within `room.py`. Is not: jupyter_server's connection where
that trusts its kernel: it would take a kernel's word for the protocol, wait for answers that a step holds up, and hand
on what it does not read. Above: `locked_server.py`. Below: `relay.py`, jupyter_server.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from asyncio import Future
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final

from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from tornado.websocket import WebSocketClosedError

from rlm_kernel_mcp.kernel.untrusted.messages import BadMessage
from rlm_kernel_mcp.lab.relay import ANSWERED, CELL, PageMessage, Relay, has_too_many_parts
from rlm_kernel_mcp.lab.room import WAITING_BYTES_MAX, Room

Json = dict[str, Any]

FORM: Final = "v1.kernel.websocket.jupyter.org"
"""The form of messages that pages choose by now; without it a message is one text of JSON."""
GREETED_S: Final = 10.0
"""How long a connection waits for the kernel to greet it, which it does once it hears of it; then it goes on."""
SMALL_BYTES: Final = 4_096
"""Of output that is looked into where there is no room: a page needs to know what the kernel does."""
FAULTS: Final = (ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error)
"""Of a page's message that is none: they are the page's own, and nobody else's."""
NEEDED: Final = frozenset({"status", "input_request"})


class LockedChannels(ZMQChannelsWebsocketConnection):  # type: ignore[misc]  # jupyter_server is not installed everywhere
    """The connection class of the server of `lab`."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._relay = Relay()
        self._room = Room(time.monotonic())
        self._waiting_bytes = 0
        """Of messages that the page has not taken."""

    async def prepare(self) -> None:
        """Get ready to connect. Not asked of the kernel: whether it answers, which a step of the agent's holds up."""
        await self._register_session()
        await _done(self.kernel_manager.ready)
        self.session.key = self.kernel_manager.session.key

    def connect(self) -> Future[None] | None:
        """Connect the page, and tell it what the kernel does just now once it hears of it."""
        connected: Future[None] | None = super().connect()
        if connected is not None:
            self.kernel_manager.pages.add(self)
            connected.add_done_callback(lambda _: self._write(self._relay.status(self._state)))
        return connected

    def nudge(self) -> Future[None]:
        """Wait for the kernel's first message: from then on none is missed."""
        heard: Future[None] = asyncio.get_running_loop().create_future()
        iopub = self.channels["iopub"]

        def go_on() -> None:
            if not heard.done():
                heard.set_result(None)
            if not iopub.closed():
                iopub.stop_on_recv()

        def hear(frames: Sequence[bytes]) -> None:
            self.handle_outgoing_message(iopub, frames)
            go_on()

        iopub.on_recv(hear)
        late = asyncio.get_running_loop().call_later(GREETED_S, go_on)
        heard.add_done_callback(lambda _: late.cancel())
        return heard

    def disconnect(self) -> None:
        """The page is gone."""
        self.kernel_manager.pages.discard(self)
        super().disconnect()
        # Its sockets are closed: a greeting that comes late has nothing to go on with.
        self.channels: dict[str, Any] = {}

    def leave(self, state: str) -> None:
        """The kernel is gone: tell the page, which connects anew if there is another in its place."""
        self._write(self._relay.status(state))
        self.websocket_handler.close()

    def tell(self, text: str) -> None:
        """Tell the page something of ours."""
        self._write(self._relay.notice(text))

    # --- from the page --------------------------------------------------------------------------

    def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Hand on what a page may ask."""
        try:
            channel, header = self._asked(incoming_msg)
        except FAULTS:
            self.log.warning("a message of a page is not one of Jupyter's, and was left out")
            return
        asked = self._relay.ask(channel, header)
        if asked is None:
            self.log.warning("a page's request that is not for a locked kernel was left out")
        elif asked["msg_type"] in ANSWERED:
            for message in self._relay.answers(asked, self._state):
                self._write(message)
        else:
            if asked["msg_type"] == CELL:
                self.kernel_manager.cells.begin(asked["msg_id"], asked["session"])
            super().handle_incoming_message(incoming_msg)

    def _asked(self, incoming: str | bytes) -> tuple[str, object]:
        """Channel and header of a page's message."""
        is_new = self.subprotocol == FORM
        if isinstance(incoming, bytes) and has_too_many_parts(incoming, is_new=is_new):
            raise ValueError("too many parts")
        if is_new:
            channel, parts = deserialize_msg_from_ws_v1(incoming)
            return str(channel), json.loads(parts[0])
        message = deserialize_binary_message(incoming) if isinstance(incoming, bytes) else json.loads(incoming)
        header = message["header"]
        return str(message.get("channel", "shell")), {name: str(value) for name, value in header.items()}

    # --- from the kernel ------------------------------------------------------------------------

    def handle_outgoing_message(self, stream: Any, outgoing_msg: Iterable[Any]) -> None:
        """Hand on what a page may be sent, in a form of ours."""
        frames = [bytes(frame) for frame in outgoing_msg]
        channel = str(getattr(stream, "channel", ""))
        size = sum(map(len, frames))
        has_room = self._room.takes(size, time.monotonic())
        if not has_room and channel == "iopub" and size > SMALL_BYTES:
            return
        try:
            message = self._relay.of_kernel(channel, frames)
        except BadMessage:
            message = self._relay.notice("a message of the kernel was left out here: it was too large, or none")
        if message is None:
            return
        ends_a_cell = self._relay.ends_a_cell(message)
        if ends_a_cell:
            self.kernel_manager.cells.end(message.parent["msg_id"])
        elif not has_room and message.header["msg_type"] not in NEEDED:
            return
        if has_room and (told := self._room.notice()) is not None:
            self._write(self._relay.notice(told, message.parent))
        self._write(message)

    @property
    def _state(self) -> str:
        return self.kernel_manager.execution_state or "idle"

    def _send_status_message(self, status: str) -> None:
        """jupyter_server tells the page of a kernel that it started."""
        self._write(self._relay.status(status))

    def _write(self, message: PageMessage) -> None:
        data: bytes | str
        if self.subprotocol == FORM:
            parts: tuple[Json, ...] = (message.header, message.parent, {}, message.content)
            data = serialize_msg_to_ws_v1([json.dumps(part).encode() for part in parts], message.channel)
        else:
            whole = {"header": message.header, "parent_header": message.parent, "metadata": {}, "buffers": []}
            data = json.dumps({**whole, "content": message.content, "channel": message.channel})
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self.websocket_handler.close()
            return
        try:
            written = self.write_message(data, binary=isinstance(data, bytes))
        except WebSocketClosedError:
            return
        self._waiting_bytes += len(data)
        written.add_done_callback(lambda done: self._taken(done, len(data)))

    def _taken(self, written: Future[None], size: int) -> None:
        """The page has taken a message, or is gone."""
        self._waiting_bytes -= size
        if not written.cancelled():
            written.exception()


async def _done(ready: Any) -> None:
    """Wait for a kernel that starts; jupyter_client has a future of one kind or the other."""
    waited: Awaitable[Any] = ready if isinstance(ready, Future) else asyncio.wrap_future(ready)
    await waited
