"""What a step says on iopub: when that is sent, and what its reply says instead.

Is: ipykernel's statuses and echoes with fewer wake-ups of the iopub thread. Where our host alone listens, what a step
has there waits for the step's end; and where that is only a short result, the reply has it in it and nothing is sent
there (decision 0131). Anybody else's cell, and a step that prints or shows more, is heard as in any kernel. A courtesy;
is not a wall. Above: `in_kernel/ipython/kernel.py`. Below: `iopub.py`, `output.py`, `wire.py`. Source: Jupyter
messaging 5.5, Execute.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.channels.iopub import SparingIOPubThread
from rlm_kernel_mcp.in_kernel.channels.output import own_streams
from rlm_kernel_mcp.wire import OWN_REQUESTS, REPLY_KEY, STEP_KEY, StepExtra

SAID_CHARS: Final = 40_000
"""Of a result that a reply has in it."""


class StepMessages:
    """Mixin of the kernel."""

    iopub_thread: SparingIOPubThread
    interrupts: Any
    owned: bool
    shell: Any
    get_parent: Any
    says_all = False
    """Whether the step's reply said that nothing follows on iopub."""

    def _publish_status(self, status: str, channel: str, parent: Any = None) -> None:
        """Send the status; `busy` goes out together with the next message of the request: a step's echo, or `idle`.

        Not of our own requests on control: they wait for a reply alone, and the iopub thread would have to be woken
        in the middle of a step.
        """
        if channel == "control" and self.get_parent(channel)["header"]["msg_type"].startswith(OWN_REQUESTS):
            return
        if status == "idle" and self.says_all and channel == "shell":
            return
        if status == "idle":
            self.iopub_thread.wake_anew()
        elif channel == "shell" and status == "busy":
            self.iopub_thread.begin()
            self.interrupts.expect(step=self.get_parent(channel)["header"]["msg_type"] == "execute_request")
        with self.iopub_thread.hold() if status == "busy" else contextlib.nullcontext():
            super()._publish_status(status, channel, parent)  # type: ignore[misc]  # ipykernel's

    def _publish_execute_input(self, code: str, parent: Any, execution_count: int) -> None:
        """Send the echo of a cell; together with its end where only our host listens, which knows what it sent."""
        with self.iopub_thread.hold() if self.owned and self.iopub_thread.listeners < 2 else contextlib.nullcontext():
            super()._publish_execute_input(code, parent, execution_count)  # type: ignore[misc]  # ipykernel's

    def say_all(self, extra: StepExtra) -> None:
        """Say with the reply what would follow on iopub, where that is little and our host alone listens.

        Not of anybody else's cell: whoever sent it may listen only later, and our host hears of it there.
        """
        if not self.shell.runs_for_agent or STEP_KEY not in self.get_parent()["metadata"]:
            return
        streams = own_streams()
        for stream in streams:
            stream.flush()  # what is printed is scheduled by then, and comes behind what is held
        if (kept := self.iopub_thread.take_back()) is None:
            return
        results = [message["content"] for message, _ in kept if message["msg_type"] == "execute_result"]
        shown = [content["data"] for content in results]
        is_little = all(data.keys() == {"text/plain"} and len(data["text/plain"]) <= SAID_CHARS for data in shown)
        if not is_little or any(REPLY_KEY in content for content in results):
            self.iopub_thread.give_back(kept)
            return
        self.says_all = extra["ends"] = True
        if shown:
            extra["result"] = shown[-1]["text/plain"]
