"""Jupyter's own requests beside `execute_request`: what a notebook, a console and the host ask of a kernel.

Is: where a kernel answers other than ipykernel's: who may interrupt and end it, what waits behind a failed cell,
history, completion. Is not: our own requests (`in_kernel/ipython/control.py`), nor a wall.
Above: `in_kernel/ipython/kernel.py`. Below: `history.py`. Source: Jupyter messaging 5.5.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.requests.history import CellHistory
from rlm_kernel_mcp.in_kernel.requests.turns import Turns
from rlm_kernel_mcp.wire import HISTORY_OF_OTHERS, STEP_KEY, TAKE_BACK, TICKET_KEY, Failure, TakeBack, WithdrawReply

Message = dict[str, Any]

STEPS: Final = ""
"""Stands for a client's session id among the turns: those of steps go by their tickets."""


class ClientRequests:
    """Mixin of the kernel."""

    session: Any
    shell: Any
    shell_stream: Any
    cells: CellHistory
    turns: Turns
    owned = False
    """Whether our own host started this kernel; any other Jupyter client may shut its kernel down."""
    in_step = False
    """Whether a step's code is running: only then may a limit's signal raise."""
    cell_client = ""
    """Session id of the client whose cell is running."""
    _send_abort_reply: Any
    _aborting: Any
    _main_asyncio_lock: Any

    async def interrupt_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Interrupt a cell for the client that runs it: a console's Ctrl-C must not end the agent's step.

        A client may take back its own waiting cells, and whoever has a step's ticket may take back that step.
        """
        ticket = parent["content"].get(TICKET_KEY)
        if self.owned and isinstance(ticket, str):
            withdrawn: WithdrawReply = {"withdrawn": bool(self.turns.take_back(STEPS, [ticket]))}
            self.session.send(stream, "interrupt_reply", {"status": "ok", **withdrawn}, parent, ident=ident)
            return
        asked = parent["content"].get(TAKE_BACK)
        if self.owned and isinstance(asked, list) and asked:
            taken = self.turns.take_back(parent["header"]["session"], asked)
            if len(taken) == len(asked):
                answered: TakeBack = {TAKE_BACK: taken}
                self.session.send(stream, "interrupt_reply", {"status": "ok", **answered}, parent, ident=ident)
                return
        if self.owned and self.in_step and self.cell_client != parent["header"]["session"]:
            content: Failure = {
                "status": "error",
                "ename": "PermissionError",
                "evalue": "another client's cell is running",
            }
            self.session.send(stream, "interrupt_reply", content, parent, ident=ident)
            return
        await super().interrupt_request(stream, ident, parent)  # type: ignore[misc]  # the kernel's base has it

    def should_handle(self, stream: Any, msg: Message, idents: Any) -> bool:
        """Whether a request is to be served: false for a cell that its client has taken back."""
        if not self.owned or msg["header"]["msg_type"] != "execute_request":
            return True
        turn = msg["header"]["session"], msg["header"]["msg_id"]
        if STEP_KEY in msg["metadata"]:
            # The agent's step is withdrawn by its ticket alone: nobody who merely claims to be its client may do so.
            if not isinstance(ticket := msg["metadata"].get(TICKET_KEY), str):
                return True
            turn = STEPS, ticket
        if self.turns.begin(*turn):
            return True
        self._send_abort_reply(stream, msg, idents)
        return False

    def _send_interrupt_children(self) -> None:
        """Answer an `interrupt_request`: there are no children, and the process group may include everybody."""
        os.kill(os.getpid(), signal.SIGINT)

    def _abort_queues(self, subshell_id: str | None = None) -> None:
        """Do nothing: this has begun before the reply (`begin_abort`)."""

    def begin_abort(self, parent: Message, status: str) -> None:
        """Answer `aborted` to the cells that wait behind one that failed: a notebook runs them all at once.

        To be called before the reply is sent: what a client sends once it has heard of the error is to run.
        In a session of our own they all run: what waits may be another client's, the agent's behind a console's.
        """
        content = parent["content"]
        if self.owned or status != "error" or content.get("silent") or not content.get("stop_on_error", True):
            return
        self._aborting = True
        self.shell_stream.flush()  # each message that has come so far is now a task that waits for its turn
        self._end_of_abort = asyncio.ensure_future(self._stop_aborting())

    async def _stop_aborting(self) -> None:
        """Stop after all messages that have come by now: the lock gives turns in the order of asking.

        A message asks for the lock in a task of its task (ipykernel's `_async_in_context`), and so does this.
        """

        async def last() -> None:
            async with self._main_asyncio_lock:
                self._aborting = False

        await asyncio.create_task(last())

    async def shutdown_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """A session's kernel is ended by its host alone, so that a console's `exit` leaves the session alive."""
        if not self.owned:
            await super().shutdown_request(stream, ident, parent)  # type: ignore[misc]
            return
        content = {"status": "error", "ename": "PermissionError", "evalue": "the session's host ends this kernel"}
        self.session.send(stream, "shutdown_reply", content, parent, ident=ident)

    async def usage_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Answer as ipykernel does where it cannot inspect processes, as behind the walls nobody can."""
        content = {"hostname": socket.gethostname(), "pid": os.getpid(), "cpu_count": os.cpu_count()}
        self.session.send(stream, "usage_reply", content, parent, ident=ident)

    async def create_subshell_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Refuse: a session runs one cell at a time. ipykernel would leave the client without an answer."""
        content = {"status": "error", "ename": "NotImplementedError", "evalue": "this kernel has no subshells"}
        reply_type = parent["header"]["msg_type"].replace("_request", "_reply")
        self.session.send(stream, reply_type, content, parent, ident=ident)

    delete_subshell_request = list_subshell_request = create_subshell_request

    async def history_request(self, stream: Any, ident: Any, parent: Message) -> None:
        """Answer as IPython's own history would; and the host, which asks for the cells of the other clients."""
        request = parent["content"]
        if request.get("hist_access_type") == HISTORY_OF_OTHERS:
            rows = self.cells.of_others(parent["header"]["session"])
        else:
            rows = self.cells.rows(request, self.shell.execution_count)
        self.session.send(stream, "history_reply", {"status": "ok", "history": rows}, parent, ident=ident)

    def do_complete(self, code: str, cursor_pos: int | None) -> Message:
        """Complete a name. Without jedi IPython completes `a.re` to `.real`, and a menu would show the dot."""
        reply: Message = super().do_complete(code, cursor_pos)  # type: ignore[misc]
        matches, start = reply["matches"], reply["cursor_start"]
        if matches and code[start : start + 1] == "." and all(match.startswith(".") for match in matches):
            reply["matches"] = [match[1:] for match in matches]
            reply["cursor_start"] = start + 1
            for kinds in reply["metadata"].values():
                for kind in kinds:
                    kind["text"], kind["start"] = kind["text"][1:], kind["start"] + 1
        return reply
