"""The host's hand on a running kernel: three connections, and the requests on them.

Is: shell, control and iopub of one kernel; the parent's `msg_id` tells what belongs to whom. Is not: trust, limits of a
session, or the ladder (`session/`). Above: `starter.py`, `session/`. Below: `kernel/untrusted/zmtp.py`,
`kernel/untrusted/messages.py`, `kernel/untrusted/reply.py`, `execution.py`.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.untrusted.messages import BadMessage, Codec, Message, parse
from rlm_kernel_mcp.kernel.untrusted.reply import Reply
from rlm_kernel_mcp.kernel.untrusted.shown.displays import Displays
from rlm_kernel_mcp.kernel.untrusted.zmtp import Connection, ProtocolBroken
from rlm_kernel_mcp.wire import INLINE_SNAPSHOT, REPLY_KEY, STEP_KEY, TICKET_KEY, SnapshotRequest, StepMetadata

MESSAGE_BYTES_MAX: Final = 4 << 20
CLOSED_GRACE_S: Final = 1.0
"""Seconds: a process that dies closes its sockets first, and what ended it is known a moment later."""
CONSOLE_REPLIES_MAX: Final = 4
CONSOLE_CHARS_MAX: Final = 400_000
"""Characters kept of one stream of a console's cell."""
LATE_CHARS_MAX: Final = 400_000
"""Characters kept of what is printed between two steps."""

OnConsole = Callable[[Reply], None]
OnBroken = Callable[[str], None]


class KernelClient:
    """Speaks to one kernel. All methods belong to the event loop that opened it."""

    def __init__(self, key: bytes) -> None:
        self._codec = Codec(key)
        self._shell = Connection("DEALER", MESSAGE_BYTES_MAX)
        self._control = Connection("DEALER", MESSAGE_BYTES_MAX)
        self._iopub = Connection("SUB", MESSAGE_BYTES_MAX)
        self._requests: dict[str, asyncio.Future[Message]] = {}
        self._replies_max: dict[str, tuple[Connection, int]] = {}
        self._snapshots: dict[str, asyncio.Future[Message]] = {}
        self._executions: dict[str, Execution] = {}
        self._consoles: dict[str, Reply] = {}
        self._late = Reply("", LATE_CHARS_MAX)
        self._welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.broken: str | None = None
        """Why this kernel must not be used any more: it broke the protocol or a limit, or it is gone."""
        self._console_at_s = -math.inf
        self.on_console: OnConsole = lambda reply: None
        self.on_broken: OnBroken = lambda reason: None

    async def open(self, connection: dict[str, Any]) -> None:
        """Connect to the bound sockets of a ready kernel.

        Raises:
            KernelDied: they cannot be reached.
        """
        for channel, handle in (
            (self._shell, self._on_reply),
            (self._control, self._on_control),
            (self._iopub, self._on_iopub),
        ):
            channel.on_message = handle
            channel.on_closed = self._on_closed
            channel.on_broken = self._break
        stem = connection["ip"]
        try:
            await asyncio.gather(
                self._shell.open(f"{stem}-{connection['shell_port']}"),
                self._control.open(f"{stem}-{connection['control_port']}"),
                self._iopub.open(f"{stem}-{connection['iopub_port']}"),
            )
        except (OSError, ProtocolBroken) as error:
            raise KernelDied(f"The kernel's sockets cannot be reached: {error}.") from error
        # XPUB sends this once the subscription has arrived: output from then on is not missed (JEP 65).
        await self._welcome

    async def request(
        self,
        msg_type: str,
        content: Mapping[str, object],
        *,
        buffers: Sequence[bytes] = (),
        shell: bool = False,
        reply_bytes_max: int = MESSAGE_BYTES_MAX,
    ) -> Message:
        """Send a request (on control; on shell if asked) and wait for its reply; bound it with `asyncio.timeout`.

        `reply_bytes_max`: what the reply may hold, where it may be larger than others.

        Raises:
            KernelDied: the kernel went away, or broke the protocol, before it answered.
        """
        if self.broken is not None:
            raise KernelDied(f"The kernel is gone: {self.broken}.")
        msg_id, frames = self._codec.build(msg_type, content, buffers)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._requests[msg_id] = future
        channel = self._shell if shell else self._control
        self._replies_max[msg_id] = channel, reply_bytes_max
        self._bound(channel)
        channel.grant()
        try:
            channel.send(frames)
            return await future
        finally:
            self._requests.pop(msg_id, None)
            self._replies_max.pop(msg_id, None)
            self._bound(channel)

    def _bound(self, channel: Connection) -> None:
        """Allow a channel's messages to be as large as the requests under way there may need, and no larger."""
        sizes = (size for where, size in self._replies_max.values() if where is channel)
        channel.reader.message_bytes_max = max(MESSAGE_BYTES_MAX, *sizes, 0)

    def execute(self, code: str, snapshot_request: SnapshotRequest | None = None, step: int = 0) -> Execution:
        """Send a step's code; the returned execution fills as messages come.

        `step`: its number in the session, which the kernel's own count is not.
        `snapshot_request`: what asks the kernel for a snapshot after the step (`wire.py`).
        """
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        # Random, so that no other client can guess it and withdraw the step.
        ticket = secrets.token_hex(8)
        metadata: StepMetadata = {STEP_KEY: step, TICKET_KEY: ticket} if step else {}
        if snapshot_request is not None:
            metadata[REPLY_KEY] = snapshot_request
        msg_id, frames = self._codec.build("execute_request", content, metadata=metadata)
        execution = Execution(msg_id, ticket)
        if self.broken is not None:
            execution.finish(self.broken)
            return execution
        if snapshot_request is not None:
            execution.snapshot = self._snapshots[msg_id] = asyncio.get_running_loop().create_future()
            execution.snapshot.add_done_callback(lambda taken: self._snapshots.pop(msg_id, None))
        # What came between two steps has no step of its own, so it is shown with this one.
        execution.reply.begin_with(self._late)
        self._late = Reply("", LATE_CHARS_MAX)
        self._executions = {msg_id: execution}  # what threads of an earlier step print is late output from now on
        # Once it has ended, its output belongs to the caller alone: an idle session would hold up to 45 MB of it.
        execution.done.add_done_callback(lambda done: self._executions.pop(msg_id, None))
        self._iopub.grant()
        self._shell.grant()
        self._shell.send(frames)
        return execution

    @property
    def console_busy(self) -> bool:
        """Whether a cell of some other client is running, as far as this client has heard."""
        return bool(self._consoles)

    def runs_cell(self, msg_id: str) -> bool:
        """Whether a cell of some other client is running under this id, as far as this client has heard."""
        return msg_id in self._consoles

    def has_sent(self, msg_id: str) -> bool:
        """Whether this is the id of a request of its own."""
        return self._codec.has_built(msg_id)

    def console_within(self, seconds: float) -> bool:
        """Whether a cell of some other client began or ended in the last so many seconds.

        Whether one is running does not count: an invented cell need never end.
        """
        return time.monotonic() - self._console_at_s < seconds

    def _on_control(self, frames: list[bytes]) -> None:
        """Take an answer to a request of ours. Nothing else belongs there: whoever waits for it would wait in vain."""
        if (message := self._parse(frames)) is None:
            return
        waiting = self._requests.get(message.parent_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)
        elif not self._codec.has_built(message.parent_id):
            self._break("it sent a message on the control channel that answers no request")

    def _on_reply(self, frames: list[bytes]) -> None:
        if (message := self._parse(frames)) is None:
            return
        waiting = (self._snapshots if message.msg_type == INLINE_SNAPSHOT else self._requests).get(message.parent_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)
        elif message.msg_type == "execute_reply" and message.parent_id in self._executions:
            self._executions[message.parent_id].feed(message)

    def _on_iopub(self, frames: list[bytes]) -> None:
        if (message := self._parse(frames)) is None:
            return
        if message.msg_type == "iopub_welcome":
            if not self._welcome.done():
                self._welcome.set_result(None)
            return
        execution = self._executions.get(message.parent_id)
        if execution is not None and not execution.done.done():
            if message.msg_type != "execute_reply":  # that belongs on shell
                execution.feed(message)
        elif message.parent_session == self._codec.session:
            self._on_late_message(message)
        elif message.parent_session:
            self._on_console_message(message)

    def _on_late_message(self, message: Message) -> None:
        """Take output of what an earlier step left running: it goes with the step that runs now, or the next one."""
        if message.msg_type in ("stream", "display_data"):
            running = [execution.reply for execution in self._executions.values() if not execution.done.done()]
            (running[0] if running else self._late).feed(message)

    def _on_console_message(self, message: Message) -> None:
        """Take a message that some other client caused: fold what looks like a cell, and report it when it is done."""
        if (reply := self._consoles.get(message.parent_id)) is None:
            if message.msg_type != "execute_input":
                return
            if len(self._consoles) >= CONSOLE_REPLIES_MAX:
                self._consoles.pop(next(iter(self._consoles)))  # the oldest: a kernel can make up any number of cells
            self._console_at_s = time.monotonic()
            reply = Reply(message.parent_id, CONSOLE_CHARS_MAX, displays=Displays(most=0))
            self._consoles[message.parent_id] = reply  # whoever runs the cell sees what it shows
        reply.feed(message)
        if reply.idle:
            del self._consoles[message.parent_id]
            self._console_at_s = time.monotonic()
            self.on_console(reply)

    def _parse(self, frames: list[bytes]) -> Message | None:
        try:
            return parse(frames)
        except BadMessage as error:
            self._break(f"it sent something that is not a Jupyter message ({error})")
            return None

    def _on_closed(self, reason: str) -> None:
        """A channel was closed by the other side: the process is dying, which will say why, or the kernel is broken."""
        if self.broken is None:
            asyncio.get_running_loop().call_later(CLOSED_GRACE_S, self._break, f"{reason} and lived on")

    def _break(self, reason: str) -> None:
        """End it: the kernel broke the rules, and nothing more is read from it."""
        if self.broken is None:
            self.close(reason)
            self.on_broken(reason)

    def close(self, reason: str = "it was shut down") -> None:
        """Drop the connections and end every wait with `reason`."""
        self.broken = self.broken or reason  # the first: later ones follow from it
        for channel in (self._shell, self._control, self._iopub):
            channel.close()
        for future in (*self._requests.values(), *self._snapshots.values()):
            if not future.done():
                future.set_exception(KernelDied(f"The kernel is gone: {self.broken}."))
                future.exception()  # read, so that asyncio does not complain where nobody waits any more
        for execution in self._executions.values():
            execution.finish(self.broken)
        if not self._welcome.done():
            self._welcome.set_exception(KernelDied(f"The kernel is gone: {self.broken}."))
            self._welcome.exception()
