"""jupyter console on a kernel that another process owns: `python -m rlm_kernel_mcp.commands.console --existing FILE`.

Is: the real console, with the one change that Ctrl-C asks the kernel for an interrupt; as it comes, it says that it
cannot interrupt what it did not start, and an endless cell would block the session. Is not: a way to stop the agent's
step: the kernel refuses that to a console. Above: `attach.py`. Below: jupyter_console.
"""

from __future__ import annotations

from typing import Any

from jupyter_console.app import ZMQTerminalIPythonApp


class AttachedConsole(ZMQTerminalIPythonApp):  # type: ignore[misc]  # jupyter_console ships no types
    """The console of `rlm-kernel-mcp attach`."""

    def handle_sigint(self, *args: Any) -> None:
        """Ctrl-C: interrupt the running cell; at the prompt begin a new line."""
        del args
        if not self.shell._executing:
            raise KeyboardInterrupt
        client = self.kernel_client
        client.control_channel.send(client.session.msg("interrupt_request", {}))


if __name__ == "__main__":
    AttachedConsole.launch_instance()
