"""jupyter console on a kernel that another process owns: `python -m rlm_kernel_mcp.commands.console --existing FILE`.

Is: the real console, changed where it takes for granted that it is the kernel's only client: it asks on the control
channel, which a running step does not block; shows the agent's running step; and Ctrl-C asks for an interrupt. Is not:
a way to stop the agent's step: the kernel refuses that to a console. Above: `attach.py`. Below: jupyter_console.
"""

from __future__ import annotations

import asyncio
import signal
import time
from queue import Empty
from typing import Any, ClassVar, Final

from IPython.core.inputtransformer2 import TransformerManager
from jupyter_client.consoleapp import JupyterConsoleApp
from jupyter_console.app import ZMQTerminalIPythonApp
from jupyter_console.completer import ZMQCompleter
from jupyter_console.ptshell import ZMQTerminalInteractiveShell
from prompt_toolkit.patch_stdout import patch_stdout
from traitlets import Int

from rlm_kernel_mcp.session.cutting import safe_text

READY_S: Final = 30.0
"""How long a kernel may take to say what it is; its control channel is not blocked by a step."""
COMPLETION_S: Final = 1.0
LOOK_S: Final = 0.1
"""Between two looks at what the agent's step has printed."""
QUEUED_S: Final = 0.5
"""After which a cell that has not begun is said to wait."""
SHOWN_TYPES: Final = {"stream", "execute_result", "display_data", "error"}


class AttachedShell(ZMQTerminalInteractiveShell):  # type: ignore[misc]  # jupyter_console ships no types
    """The prompt of `rlm-kernel-mcp attach`."""

    agents_step = Int(0, config=True, help="Number of the agent's step that was running at the start; 0: none was.")

    _watching = False
    """Whether the agent's running step is shown."""
    _cells: frozenset[str] = frozenset()
    """Ids of the requests with which the person's cells were sent."""
    _sent_s: float | None = None
    """When the person's cell was sent (monotonic), until it has begun or is said to wait."""
    waits = False
    """Whether the person's cell is said to wait, and has not begun."""

    def init_completer(self) -> None:
        """Complete as the console does, and give up sooner: the kernel may be at work for long."""
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
        """The console's, and what is going on."""
        super().show_banner()
        if self.agents_step:
            self._watching = self.include_other_output = True
            print(
                f"The agent's step {self.agents_step} is running. What it prints is shown as it comes; a cell that you "
                "enter runs when it has ended.",
                flush=True,
            )

    def check_complete(self, code: str) -> tuple[bool, str]:
        """Whether Enter goes on with the cell: found here, since a kernel at work gives no answer."""
        status, indent = TransformerManager().check_complete(code)  # type: ignore[no-untyped-call]
        return status == "incomplete", " " * (indent or 0)

    def run_cell(self, cell: str, store_history: bool = True) -> None:
        """Run a cell; one that waits behind the agent's step says so."""
        self._sent_s = time.monotonic()
        super().run_cell(cell, store_history)
        self._sent_s, self.waits = None, False

    def handle_iopub(self, msg_id: str = "") -> None:
        """Show what came. What a kernel says may be anything; a message that is none costs itself alone."""
        if msg_id:
            self._cells |= {msg_id}
        try:
            super().handle_iopub(msg_id)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            print(f"[a message of the kernel cannot be shown: {type(error).__name__}]")
        if self._executing and self._sent_s is not None and time.monotonic() - self._sent_s > QUEUED_S:
            self._sent_s, self.waits = None, True
            print("This cell runs when the agent's step has ended.", flush=True)

    def from_here(self, msg: dict[str, Any]) -> bool:
        """Whether it belongs to a cell of the person: a kernel knows this console's id before anything is run."""
        return msg["parent_header"].get("msg_id") in self._cells

    def include_output(self, msg: dict[str, Any]) -> bool:
        """What the person's own cells say, and the agent's step that was running at the start, to its end."""
        if self.from_here(msg):
            if msg["msg_type"] in ("status", "execute_input"):
                self._sent_s, self.waits = None, False
            return bool(msg["msg_type"] != "execute_input")  # the person has just typed it
        if not self._watching or super().from_here(msg):  # nobody's, or another request's of this console
            return False
        if msg["msg_type"] == "status" and msg["content"]["execution_state"] == "idle":
            self._watching = False
            print(f"The agent's step {self.agents_step} has ended.", flush=True)
        if msg["msg_type"] not in SHOWN_TYPES:
            return False
        make_safe(msg["content"])
        return True

    async def handle_external_iopub(self, loop: Any = None) -> None:
        """Show the agent's step above the prompt while it runs; the prompt's own end is another task's."""
        del loop
        with patch_stdout(raw=True):
            while self._watching:
                self.handle_iopub()
                await asyncio.sleep(LOOK_S)
        await asyncio.Event().wait()


class PatientCompleter(ZMQCompleter):  # type: ignore[misc]  # as above
    """The console's, which takes no answer for one of no matches."""

    timeout = COMPLETION_S

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

    def init_shell(self) -> None:
        """As the console's, with our shell in place of its own."""
        JupyterConsoleApp.initialize(self)
        signal.signal(signal.SIGINT, self.handle_sigint)
        self.shell = AttachedShell.instance(
            parent=self, manager=self.kernel_manager, client=self.kernel_client, confirm_exit=self.confirm_exit
        )
        self.shell.own_kernel = False

    def handle_sigint(self, *args: Any) -> None:
        """Ctrl-C: interrupt the running cell; at the prompt begin a new line."""
        del args
        if not self.shell._executing:
            raise KeyboardInterrupt
        if self.shell.waits:
            print("The agent's step goes on, and your cell still runs when it has ended.", flush=True)
        client = self.kernel_client
        client.control_channel.send(client.session.msg("interrupt_request", {}))


def make_safe(content: dict[str, Any]) -> None:
    """Nothing that the agent's step says may act on the terminal of whoever looks on."""
    for key in ("text", "ename", "evalue"):
        if key in content:
            content[key] = safe_text(str(content[key]))
    if "data" in content:
        content["data"] = {"text/plain": safe_text(str(content["data"].get("text/plain", "")))}
    if "traceback" in content:
        content["traceback"] = [safe_text(str(line)) for line in content["traceback"]]


if __name__ == "__main__":
    AttachedConsole.launch_instance()
