"""Builds, signs and reads a kernel's messages with less work: a step has five, and they were a quarter of its time.

Is: jupyter_client's session for the messages that a kernel handles; any other goes through the library. Is not: a
change of what is on the wire, except that a parent header comes back with its date as it was written; nor a wall.
Above: `in_kernel/ipython/app.py`. Below: ipykernel, `iopub.py`, `wire.py`.
"""

from __future__ import annotations

from functools import partial
from hmac import compare_digest
from typing import Any, Final

import zmq
from ipykernel.kernelbase import Session  # type: ignore[attr-defined]  # jupyter_client's, which ipykernel uses

from rlm_kernel_mcp.in_kernel.channels.iopub import SparingIOPubThread
from rlm_kernel_mcp.wire import DELIMITER

DONE: Final = zmq.MessageTracker()
OWN_VERSION: Final = "5."
"""The protocol's version: messages of others are adapted by the library."""
PARTS: Final = 5
"""Signature, header, parent header, metadata, content."""


class SparingSession(Session):
    """The session of one kernel's messages."""

    _packed: tuple[Any, bytes] = None, b""
    """The parent header of the newest message and its JSON: all messages of a step have the same. Threads share it."""

    def msg_header(self, msg_type: str) -> dict[str, Any]:
        """The header of a new message. Its date is text already."""
        header: dict[str, Any] = super().msg_header(msg_type)
        header["date"] = header["date"].isoformat().replace("+00:00", "Z")
        return header

    def serialize(self, msg: dict[str, Any], ident: Any = None) -> list[bytes]:
        """A message's frames."""
        content, pack = msg.get("content"), self.pack
        if type(content) is not dict:
            return list(super().serialize(msg, ident))
        # One read of one attribute: another thread may store a new pair at any time.
        known, packed = self._packed
        if known is not (parent := msg["parent_header"]):
            packed = pack(parent)
            self._packed = parent, packed
        metadata = pack(msg["metadata"]) if msg["metadata"] else b"{}"
        parts = [pack(msg["header"]), packed, metadata, pack(content)]
        idents = ident if isinstance(ident, list) else [] if ident is None else [ident]
        return [*idents, DELIMITER, self.sign(parts), *parts]

    def send(  # noqa: PLR0913, PLR0917  (jupyter_client's signature)
        self,
        stream: Any,
        msg_or_type: Any,
        content: Any = None,
        parent: Any = None,
        ident: Any = None,
        buffers: Any = None,
        track: bool = False,
        header: Any = None,
        metadata: Any = None,
    ) -> dict[str, Any] | None:
        """Build and send a message; as jupyter_client's."""
        is_built = type(msg_or_type) is dict and not msg_or_type.get("buffers")
        if stream is None or not (is_built or type(msg_or_type) is str) or buffers or track or header:
            return super().send(stream, msg_or_type, content, parent, ident, buffers, track, header, metadata)
        message: dict[str, Any] = msg_or_type if is_built else self.msg(msg_or_type, content, parent, metadata=metadata)
        thread = getattr(stream, "io_thread", None)
        if isinstance(thread, SparingIOPubThread) and thread.is_held:
            thread.keep(message, partial(self.serialize, message, ident))
        else:
            # `copy`: below libzmq's threshold a copy is cheaper than the bookkeeping for one that is shared.
            stream.send_multipart(self.serialize(message, ident), copy=True)
        message["tracker"] = DONE
        return message

    def deserialize(self, msg_list: list[Any], content: bool = True, copy: bool = True) -> dict[str, Any]:
        """A message from its frames after the identities; as jupyter_client's, which makes objects of dates.

        Raises:
            ValueError, TypeError: it is unsigned, wrongly signed, came before, or is not a message.
        """
        if not content or self.auth is None or len(msg_list) < PARTS:
            return dict(super().deserialize(msg_list, content, copy))
        signature, *parts = (part if copy else bytes(part.bytes) for part in msg_list[:PARTS])
        if not signature:
            raise ValueError("Unsigned Message")
        # In the library's order: a replay is refused before its signature is computed.
        if signature in self.digest_history:
            raise ValueError(f"Duplicate Signature: {signature!r}")
        if not compare_digest(signature, self.sign(parts)):
            raise ValueError(f"Invalid Signature: {signature!r}")
        header = self.unpack(parts[0])
        if "date" not in header or not str(header.get("version")).startswith(OWN_VERSION):
            return dict(super().deserialize(msg_list, content, copy))
        self._add_digest(signature)
        return {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": self.unpack(parts[1]),
            "metadata": self.unpack(parts[2]),
            "content": self.unpack(parts[3]),
            "buffers": [memoryview(part) for part in msg_list[PARTS:]],
        }
