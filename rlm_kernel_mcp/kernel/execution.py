"""One `execute_request` under way: what has come of it, and when it is done.

Is: the three-way wait. Is not: connections (`client.py`), nor a step's deadline and ladder (`session/steps/run.py`).
Above: `client.py`. Below: `kernel/untrusted/reply.py`.

The three-way wait: an execution is done when its reply (shell) and its idle status (iopub) are both there, or one of
them has come and the other stays away for a grace (ipykernel can lose the reply in an interrupt's race), or the kernel
is dead. A reply may say that it stands for both (`wire.StepExtra`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.kernel.untrusted.reply import Reply

REPLY_GRACE_S: Final = 0.5


class Execution:
    """One `execute_request` under way. `done` is set once, with how it ended."""

    def __init__(self, msg_id: str, ticket: str = "") -> None:
        """`ticket`: by which it can be withdrawn."""
        self.reply = Reply(msg_id)
        self.ticket = ticket
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.snapshot: asyncio.Future[Message] | None = None
        """The snapshot of what the step changed, if it was asked for; it comes after the step's end. Fails as
        `KernelClient.request`; cancelled where the reply says that nothing did."""
        self.on_message: Callable[[], None] = lambda: None
        """Called after each message; it must neither wait nor raise."""
        self._grace: asyncio.TimerHandle | None = None

    def feed(self, message: Message) -> None:
        """Take one message of this execution."""
        self.reply.feed(message)
        # Then no snapshot will come, and waiting for it would only end by its deadline.
        if self.reply.unchanged and self.snapshot is not None:
            self.snapshot.cancel()
        if self._grace is not None:
            self._grace.cancel()
        if self.reply.complete:
            self.finish("complete")
        elif self.reply.idle or self.reply.replied:
            # Counted from the last message: output that is still on its way must not be left out.
            self._grace = asyncio.get_running_loop().call_later(REPLY_GRACE_S, self.finish, "half")
        self.on_message()

    def finish(self, how: str) -> None:
        """End the wait: `complete`, `half` (idle or reply came alone), `withdrawn`, or why the kernel is gone."""
        if self.snapshot is not None and how == "withdrawn":
            self.snapshot.cancel()
        if self._grace is not None:
            self._grace.cancel()
        if self.snapshot is not None and not self.snapshot.done() and how == "half" and not self.reply.replied:
            # It follows the reply, which did not come: waiting on would make this kernel look like one that hangs.
            self.snapshot.set_exception(
                KernelDied("The kernel came to rest without a reply, so no values of this step are kept.")
            )
            self.snapshot.exception()  # read, so that asyncio does not complain where nobody waits
        if not self.done.done():
            self.done.set_result(how)
