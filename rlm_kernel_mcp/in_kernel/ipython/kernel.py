"""The kernel of one session: `execute_request` and what surrounds it.

Is: ipykernel's kernel with a step's beginning and end (output budget, changed names, interrupt that cannot eat the
reply). Is not: a wall. Above: `app.py`. Below: `answered.py`, `control.py`,
`in_kernel/requests/client_requests.py`, `in_kernel/requests/stdin.py`, `in_kernel/requests/expressions.py`, `shell.py`,
`interrupts.py`. Source: Jupyter messaging 5.5, Execute.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Sequence
from typing import Any

import zmq
from ipykernel.ipkernel import IPythonKernel
from traitlets import Type

from rlm_kernel_mcp.in_kernel.channels.bundles import IMAGES
from rlm_kernel_mcp.in_kernel.channels.output import BudgetedOutStream, own_streams
from rlm_kernel_mcp.in_kernel.channels.packing import PAYLOAD_CHARS, fitting
from rlm_kernel_mcp.in_kernel.channels.step_messages import StepMessages
from rlm_kernel_mcp.in_kernel.courtesies.unawaited import of_names
from rlm_kernel_mcp.in_kernel.display_text.source_locations import StepCompiler
from rlm_kernel_mcp.in_kernel.display_text.values import describe
from rlm_kernel_mcp.in_kernel.explore.evidence import told
from rlm_kernel_mcp.in_kernel.ipython.answered import AnsweredRequests
from rlm_kernel_mcp.in_kernel.ipython.control import ControlRequests
from rlm_kernel_mcp.in_kernel.ipython.descriptors import set_room_aside
from rlm_kernel_mcp.in_kernel.ipython.garbage import Garbage
from rlm_kernel_mcp.in_kernel.ipython.interrupts import Interrupts
from rlm_kernel_mcp.in_kernel.ipython.process_state import ProcessState
from rlm_kernel_mcp.in_kernel.ipython.shell import RlmShell
from rlm_kernel_mcp.in_kernel.ipython.unlisted import no_modules_listed
from rlm_kernel_mcp.in_kernel.namespace.bound_names import bound_names, identities
from rlm_kernel_mcp.in_kernel.notebook.replay import Cell, Replay
from rlm_kernel_mcp.in_kernel.requests.client_requests import ClientRequests
from rlm_kernel_mcp.in_kernel.requests.expressions import evaluate
from rlm_kernel_mcp.in_kernel.requests.history import CellHistory
from rlm_kernel_mcp.in_kernel.requests.stdin import InputRequests
from rlm_kernel_mcp.in_kernel.requests.turns import Turns
from rlm_kernel_mcp.in_kernel.snapshots.taking import or_failure
from rlm_kernel_mcp.in_kernel.walls.limits import soft_memory
from rlm_kernel_mcp.wire import (
    INLINE_SNAPSHOT,
    REPLY_KEY,
    STEP_KEY,
    NameRow,
    SnapshotRequest,
    StepExtra,
)

UPDATED_NAMES_MAX = 500
NAME_CHARS_MAX = 200


class RlmKernel(ControlRequests, AnsweredRequests, ClientRequests, InputRequests, StepMessages, IPythonKernel):  # type: ignore[misc]  # untyped below
    """One session's kernel."""

    implementation = "rlm-python"
    shell_class = Type(RlmShell)
    compiler_class = Type(StepCompiler)  # type: ignore[assignment]  # ipykernel narrows the trait
    _execute_sleep = 0
    _wanted: tuple[Any, Any, dict[str, Any]] | None = None
    """Stream, identity and request of a step after which a snapshot is wanted."""
    _unchanged = False
    """Whether the step's reply said that no name has to be kept again, where that is plain at a glance."""
    garbage: Garbage
    state: ProcessState
    """Both set by the app, once the kernel is as its steps should find it."""
    _values: dict[str, Any]
    """What the running step's `user_expressions` show."""

    def __init__(self, **traits: Any) -> None:
        """As ipykernel's."""
        self.cells, self.replay = CellHistory(), Replay()
        self.turns = Turns()
        with no_modules_listed():
            super().__init__(**traits)
        self.answer_all()
        self.answer_offered()
        self.shell.kernel = self.shell.parent = self  # the shell was made before there was a kernel
        self.interrupts = Interrupts(self.shell.user_ns)
        self.shell.interrupts = self.interrupts

    def belong_to_host(self) -> None:
        """Our own host started this kernel: nobody renders what it shows, and only the host ends it."""
        self.owned = True
        self.shell.display_formatter.show(IMAGES)
        set_room_aside()

    def belong_to_notebook(self) -> None:
        """A notebook of a session runs again here: what a step shows is what it showed to its agent."""
        self.shell.display_formatter.show(IMAGES)

    def pre_handler_hook(self) -> None:
        """Before each shell request: what it runs can be interrupted. A step itself says from when on.

        An interrupt before that would cost the step its reply and its snapshot.
        """
        if self.get_parent()["header"]["msg_type"] != "execute_request":
            self.interrupts.arm()

    def post_handler_hook(self) -> None:
        """After each shell request."""
        self.interrupts.disarm()

    def init_metadata(self, parent: dict[str, Any]) -> dict[str, Any]:
        """No ipyparallel fields."""
        del parent
        return {}

    def finish_metadata(
        self, parent: dict[str, Any], metadata: dict[str, Any], reply_content: dict[str, Any]
    ) -> dict[str, Any]:
        """No ipyparallel fields. Called right before the reply to a cell is sent."""
        if parent["header"]["msg_type"] == "execute_request":
            self.begin_abort(parent, reply_content["status"])
        return metadata

    async def execute_request(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        """Run a step, after which its host may want what it changed."""
        asked = self.owned and REPLY_KEY in parent["metadata"]
        # Also if it fails: a host that hears nothing takes the kernel for one that hangs, and ends it.
        self._unchanged, self._wanted = False, (stream, ident, parent) if asked else None
        try:
            await super().execute_request(stream, ident, parent)
        except BaseException:
            self.says_all = False  # that reply was not sent, and another one will be
            raise
        if self._unchanged:
            self._wanted = None

    async def dispatch_shell(self, msg: Any, /, subshell_id: str | None = None, *, concurrent: bool = False) -> None:
        """Serve a shell request. A snapshot comes after `idle`, and before anything else."""
        try:
            await super().dispatch_shell(msg, subshell_id=subshell_id, concurrent=concurrent)
        finally:  # also if it is left by what ipykernel does not catch: another request's end is no place for it
            wanted, self._wanted = self._wanted, None
            says_all, self.says_all = self.says_all, False
            if wanted is not None:
                if not says_all:
                    # Until the step's messages are sent: pickling would take the interpreter lock from who sends them.
                    self.iopub_thread.wait()
                self._send_snapshot(*wanted)

    def _send_snapshot(self, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        asked: SnapshotRequest = parent["metadata"][REPLY_KEY]
        taken = or_failure(lambda: self.snapshots.take_small(asked["token"], asked["after"]))
        content, data = taken if isinstance(taken, tuple) else (taken or {"status": "too_large"}, b"")
        self.session.send(stream, INLINE_SNAPSHOT, content, parent, ident=ident, buffers=[data])
        stream.flush(zmq.POLLOUT)

    async def do_execute(  # noqa: PLR0913  (ipykernel's signature)
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: Any = None,
        cell_id: Any = None,
    ) -> dict[str, Any]:
        """Run a step's code; the reply says how it ended, what it bound and what output was dropped."""
        del cell_meta, cell_id
        self.interrupts.armed = False
        shell = self.shell
        cell = self.replay.begin(code, silent=silent)
        code, store_history = cell.code, store_history and cell.is_counted
        before = identities(shell.user_ns)
        told(claims=not self.owned)  # what others have done since is not this step's
        self.state.put_back()
        streams = own_streams()
        for stream in streams:
            stream.begin_step()
        self.state.say_changed()
        shell.last_error, shell.end_error = None, None
        shell.out_of_memory = shell.display_failed = False
        shell.runs_for_agent = cell.step > 0 or (self.owned and not allow_stdin)
        self._begin_cell(cell)
        self.cell_client = self.get_parent()["header"]["session"]
        if not silent and store_history and code and not code.isspace():
            self.cells.note(self.cell_client, shell.execution_count, code)
        self._values = {}
        with self.person(allow_stdin and not cell.step):
            ok = await self._run(code, silent, store_history, user_expressions)
        payload = self._payload(streams)
        dropped = {stream.name: stream.finish_step() for stream in streams}
        tree = shell.compile.take_tree(shell.transform_cell(code) if ok else "")
        names = [] if silent else bound_names(tree or code, before, shell.user_ns, ok)
        reply: dict[str, Any] = {
            "status": "ok" if ok else "error",
            "execution_count": shell.execution_count - 1,  # so also for a cell that is not counted, as in ipykernel
            "user_expressions": self._values,
            "payload": payload,
            REPLY_KEY: self._extra(names, dropped),
        }
        if not ok:
            ename, evalue, lines = shell.end_error or shell.last_error or ("KeyboardInterrupt", "", [])
            reply.update(ename=ename, evalue=evalue, traceback=lines)
        return reply

    def _extra(self, names: Sequence[str], dropped: dict[str, int]) -> StepExtra:
        """What the reply says beside Jupyter's own."""
        values = [(name, self.shell.user_ns.get(name)) for name in names[:UPDATED_NAMES_MAX]]
        updated: list[NameRow] = [(name[:NAME_CHARS_MAX], *describe(value)) for name, value in values]
        asked: SnapshotRequest | None = self.get_parent()["metadata"].get(REPLY_KEY) if self.owned else None
        self._unchanged = asked is not None and self.snapshots.unchanged(asked["token"], asked["after"])
        extra: StepExtra = {"updated": updated, "dropped": dropped, "unchanged": self._unchanged}
        if used := told(claims=self.shell.runs_for_agent):
            extra["used"] = used
        self.say_all(extra)
        return extra

    def _begin_cell(self, cell: Cell) -> None:
        """Have it end after its time, and tracebacks call it by its step's number, which its agent knows it by."""
        step = self.get_parent()["metadata"].get(STEP_KEY) if self.shell.runs_for_agent else None
        if cell.limit_s:
            self.interrupts.end_after(cell.limit_s)
        self.shell.compile.step = cell.step or (step if type(step) is int else 0)
        self.shell.compile.for_console = cell.is_console or (self.owned and not self.shell.runs_for_agent)

    def _payload(self, streams: Sequence[BudgetedOutStream]) -> list[Any]:
        """What the step has for its client besides output; it says so where something does not fit a reply."""
        payload, too_large = fitting(self.shell.payload_manager.read_payload())
        self.shell.payload_manager.clear_payload()
        if too_large and streams:
            streams[-1].write(
                f"[payloads left out: {too_large:,}; a reply has room for {PAYLOAD_CHARS:,} characters]\n"
            )
        return payload

    async def _run(self, code: str, silent: bool, store_history: bool, expressions: Any) -> bool:
        """Run the code to its end; true if it raised nothing. From here on an interrupt must not eat the reply."""
        shell = self.shell
        self.in_step = True
        try:
            self.interrupts.arm()
            self.garbage.before_step()
            transformed = shell.transform_cell(code)
            soft_memory(True)  # after our own part: what earlier steps hold may have left it none
            if shell.should_run_async(code, transformed_cell=transformed):
                result = await self._run_async(code, transformed, silent, store_history)
            else:
                result = shell.run_cell(code, store_history=store_history, silent=silent)
            ok = bool(result is not None and result.success and not shell.display_failed)
            # Code may show an error that it caught (`%run` of a script that failed); an agent hears of that one too.
            ok = ok and not ((self.owned or shell.runs_for_agent) and shell.last_error)
            if ok and expressions:
                self.interrupts.arm()
                self._values = evaluate(shell, expressions)
            if ok:
                if shell.runs_for_agent and (said := of_names(shell.user_ns)):
                    sys.stderr.write(said)
                self.garbage.let_go(shell)
            else:
                self.garbage.after_failure(shell, shell.out_of_memory)
            return ok
        except (KeyboardInterrupt, MemoryError, SyntaxError, asyncio.CancelledError) as error:
            # The interrupt or the limit hit outside the code itself: in IPython's own lines, or its transformers.
            self.in_step = self.interrupts.armed = False
            soft_memory(False)
            shell.publish_error(type(error), error, error.__traceback__)
            self.garbage.let_go(shell)
            self.garbage.owe()  # this error's frames are the ones running here
            return False
        finally:
            self.in_step = self.interrupts.armed = False
            try:
                soft_memory(False)  # first: what follows needs memory, of which the code may have left none
            finally:
                soft_memory(False)  # a signal handler of the step's own may have left the one before
                self.interrupts.disarm()
                self.state.put_back()

    async def _run_async(self, code: str, transformed: str, silent: bool, store_history: bool) -> Any:
        run = self.shell.run_cell_async(
            code, store_history=store_history, silent=silent, transformed_cell=transformed, preprocessing_exc_tuple=None
        )
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().create_task(run, context=context)
        try:
            self.interrupts.arm(future)
            result = await future
            self.shell.note_end(result)
            return result
        except KeyboardInterrupt:
            future.cancel()
            raise
        finally:
            for variable, value in context.items():
                if variable.get(None) is not value:
                    variable.set(value)  # state of the session, like what a step without an await sets
            self.shell.events.trigger("post_execute")
