"""jupyter console on a kernel that another process owns, as a program: `--existing FILE`.

Is: the real console, changed where it assumes that it is the kernel's only client: it asks on the control channel,
which a running step does not block, it shows what the agent runs, and Ctrl-C withdraws a cell that is waiting. Is not:
a way to stop the agent's step: the kernel refuses that to a console. A program: `commands/attach.py`
becomes it. Below: jupyter_console, `agents_steps.py`, `bounded_client.py`, `lost_kernel.py`, `onlooking.py`,
`terminal.py`, `withdrawal.py`.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from queue import Empty
from typing import Any, ClassVar, Final

from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.consoleapp import JupyterConsoleApp
from jupyter_console.app import ZMQTerminalIPythonApp
from jupyter_console.completer import ZMQCompleter
from jupyter_console.ptshell import ZMQTerminalInteractiveShell
from prompt_toolkit.application import in_terminal
from traitlets import Unicode

from rlm_kernel_mcp.commands.attached.agents_steps import AgentsSteps
from rlm_kernel_mcp.commands.attached.bounded_client import BoundedClient
from rlm_kernel_mcp.commands.attached.lost_kernel import FAREWELLS, LostKernel
from rlm_kernel_mcp.commands.attached.onlooking import UNREADABLE, Onlooker, unreadable
from rlm_kernel_mcp.commands.attached.terminal import TypedAhead
from rlm_kernel_mcp.commands.attached.withdrawal import GivenUp, Withdrawal
from rlm_kernel_mcp.text.safe_text import safe_text

READY_S: Final = 30.0
"""How long a kernel may take to answer `kernel_info_request`; a step does not block its control channel."""
LOOK_S: Final = 0.1
"""Seconds between two looks at what others' cells print, and the longest that one look takes."""
QUEUED_S: Final = 0.5
"""Seconds after which the person hears that a cell waits."""


class AttachedShell(ZMQTerminalInteractiveShell):  # type: ignore[misc]  # jupyter_console ships no types
    """The prompt of `rlm-kernel-mcp attach`."""

    include_other_output = True
    agents_session = Unicode("", config=True, help="Id of the session whose kernel this is.")
    state_dir = Unicode("", config=True, help="Where its server keeps its record.")

    _cell = ""
    """Id of the request with which the person's running or waiting cell was sent."""
    _cells: frozenset[str] = frozenset()
    """The ids of all such requests."""
    _sent_s: float | None = None
    """When the person's cell was sent (monotonic), until it has begun or is said to wait."""
    _begun = False
    _look_until = 0.0

    def __init__(self, **traits: Any) -> None:
        self._typed_ahead = TypedAhead()
        self._withdrawal = Withdrawal()
        super().__init__(**traits)
        steps = AgentsSteps(Path(self.state_dir), self.agents_session, self.parent.began_ns)
        self._others = Onlooker(steps.begun, waits=steps.waits, late=steps.late)
        self._at_start = steps.running()
        self._lost = LostKernel(Path(self.state_dir), self.agents_session, self.parent.existing)
        self._confirms = self.confirm_exit

    def init_completer(self) -> None:
        """Complete as the console does, but give up sooner: the kernel may be busy for long."""
        self.Completer = PatientCompleter(self, self.client, config=self.config)

    def init_kernel_info(self) -> None:
        """Ask on the control channel, which is answered while a step runs."""
        self.client.hb_channel.unpause()
        asked = self.client.session.msg("kernel_info_request", {})
        self.client.control_channel.send(asked)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                reply = self.client.get_control_msg(timeout=1)
            except Empty:
                continue
            if reply["parent_header"].get("msg_id") == asked["header"]["msg_id"]:
                self.kernel_info = {**reply["content"], "banner": safe_text(str(reply["content"].get("banner", "")))}
                return
        raise RuntimeError(f"the kernel did not say what it is within {READY_S:.0f} s")

    def show_banner(self) -> None:
        """The console's prompt, and what is going on."""
        super().show_banner()
        if self._at_start is not None:
            self._others.begin(self._at_start)
            print(self._others.text(), end="")
            print("What it prints is shown as it comes; a cell that you enter runs when it has ended.", flush=True)

    def check_complete(self, code: str) -> tuple[bool, str]:
        """Whether Enter goes on with the cell: found here, since a kernel at work does not answer."""
        status, indent = TransformerManager().check_complete(code)  # type: ignore[no-untyped-call]
        return status == "incomplete", " " * (indent or 0)

    def run_cell(self, cell: str, store_history: bool = True) -> None:
        """Run a cell; one that waits behind the agent's step says so, and can be withdrawn.

        A kernel that is gone gets none; what leaves the console leaves it then too.
        """
        sent = self.client.is_alive()
        if sent:
            self._send(cell, store_history)
        if self.client.is_alive():
            return
        if cell.strip() in FAREWELLS:
            self.ask_exit()
        elif cell.strip():
            print(self._lost.answer(sent), flush=True)

    def _send(self, cell: str, store_history: bool) -> None:
        self._sent_s = time.monotonic()
        self._typed_ahead.keep()
        try:
            super().run_cell(cell, store_history)
        except GivenUp as end:
            print(end, flush=True)
        finally:
            self._typed_ahead.let_go()
            self._executing = self._begun = False
            self._sent_s, self._cell = None, ""
            self._withdrawal.end()

    def handle_input_request(self, msg_id: str, timeout: float = 0.1) -> None:
        """What a cell waits for first."""
        self._cell = msg_id
        self._cells |= {msg_id}
        if not self.client.stdin_channel.socket.poll(timeout * 1000):
            raise Empty
        self._has_begun()
        super().handle_input_request(msg_id, timeout)

    def handle_iopub(self, msg_id: str = "") -> None:
        """While a cell runs or waits: show what came. A kernel may send anything; a bad message costs only itself."""
        if not msg_id:
            return  # at the prompt: `handle_external_iopub`
        self._look_until = time.monotonic() + LOOK_S
        try:
            super().handle_iopub(msg_id)
        except _Enough:
            pass
        except UNREADABLE as error:
            print(unreadable(error))
        print(self._others.text() + self.client.news(), end="", flush=True)
        self._withdrawal.hear(self.client, self._cell, self._others.in_the_way, begun=self._begun)
        if self._executing and self._sent_s is not None and time.monotonic() - self._sent_s > QUEUED_S:
            self._sent_s = None
            print(f"This cell runs when {self._others.in_the_way()} has ended.", flush=True)

    def from_here(self, msg: dict[str, Any]) -> bool:
        """Whether it belongs to a cell of the person: a kernel knows this console's id before anything is run."""
        return msg["parent_header"].get("msg_id") in self._cells

    def include_output(self, msg: dict[str, Any]) -> bool:
        """Messages of the person's running cell are shown as the console shows them; all others go to the onlooker."""
        if msg["parent_header"].get("msg_id") != self._cell:
            self._take(msg)
            if time.monotonic() > self._look_until:
                raise _Enough
            return False
        if msg["msg_type"] in ("status", "execute_input"):
            self._has_begun()
        return bool(msg["msg_type"] != "execute_input")  # the person has just typed it

    def _has_begun(self) -> None:
        self._begun, self._sent_s = True, None
        self._typed_ahead.let_go()

    def _take(self, msg: dict[str, Any]) -> None:
        """Take a message of no running cell of the person; show what threads of an earlier one print."""
        if self.from_here(msg):
            self._others.show(msg["msg_type"], msg["content"])
        else:
            self._others.take(msg)

    async def handle_external_iopub(self, loop: Any = None) -> None:
        """At the prompt: show above it what others' cells print; what the person has typed stays."""
        del loop
        while True:
            if text := self._look():
                async with in_terminal():
                    print(text, end="", flush=True)
            await asyncio.sleep(LOOK_S)

    def _look(self) -> str:
        """What came since the last look, as far as there is time to read it, for showing."""
        channel, faults = self.client.iopub_channel, ""
        until = time.monotonic() + LOOK_S
        while time.monotonic() < until:
            try:
                msg = channel.get_msg(timeout=0)
                if msg["msg_type"] == "execute_input":
                    self.execution_count = int(msg["content"]["execution_count"]) + 1
                self._take(msg)
            except Empty:
                break
            except UNREADABLE as error:
                faults = unreadable(error) + "\n"
        alive = self.client.is_alive()
        self.set_trait("confirm_exit", self._confirms and alive)
        news: str = self.client.news()
        return self._others.text() + faults + news + self._lost.news(alive)

    def mainloop(self) -> None:
        """Until the person leaves; it never ends the kernel."""
        while True:
            try:
                asyncio.run(self._main_task())
                break
            except KeyboardInterrupt:
                print("\nKeyboardInterrupt\n")
        if self.client.is_alive():
            print("The session and its kernel go on.")

    def interrupt(self) -> None:
        """Ctrl-C while a cell runs or waits. In a signal's handler: what is answered is heard later."""
        self._withdrawal.ask(self.client, self._cell, begun=self._begun)


class _Enough(Exception):
    """A look has taken its full time; what is left is for the next one."""


class PatientCompleter(ZMQCompleter):  # type: ignore[misc]  # as above
    """The console's, which cannot tell a missing answer from one without matches."""

    timeout = 1.0

    def complete_request(self, code: str, cursor_pos: int) -> dict[str, Any]:
        """What the kernel completes; nothing while it runs a step."""
        try:
            content: dict[str, Any] = super().complete_request(code, cursor_pos)
        except Empty:
            return {"matches": [], "cursor_start": cursor_pos, "cursor_end": cursor_pos, "metadata": {}, "status": "ok"}
        return content


class AttachedConsole(ZMQTerminalIPythonApp):  # type: ignore[misc]  # as above
    """The console of `rlm-kernel-mcp attach`."""

    classes: ClassVar = [*ZMQTerminalIPythonApp.classes, AttachedShell]
    kernel_client_class = BoundedClient

    def init_shell(self) -> None:
        """As the console's, with our shell in place of its own."""
        self.began_ns = time.time_ns()  # before it hears anything
        JupyterConsoleApp.initialize(self)
        signal.signal(signal.SIGINT, self.handle_sigint)
        self.shell = AttachedShell.instance(
            parent=self, manager=self.kernel_manager, client=self.kernel_client, confirm_exit=self.confirm_exit
        )
        self.shell.own_kernel = False

    def handle_sigint(self, *args: Any) -> None:
        """Ctrl-C: interrupt the running cell, take back one that waits; at the prompt begin a new line."""
        del args
        if not self.shell._executing:
            raise KeyboardInterrupt
        self.shell.interrupt()


if __name__ == "__main__":
    AttachedConsole.launch_instance()
