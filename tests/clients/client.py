"""A Jupyter client of one kernel, as a notebook or a console is one: what a request brings on each channel."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any, Final

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from tests.specs import write_spec

WAIT_S: Final = 60
POLL_S: Final = 0.02
STOCK: Final = "python3"

Content = dict[str, Any]


@dataclass(slots=True)
class Cell:
    """All that one request brought, in order."""

    reply: Content = field(default_factory=dict)
    messages: list[tuple[str, Content]] = field(default_factory=list)
    """Type and content of each message on iopub, without the statuses and the echo of the code."""
    asked: list[Content] = field(default_factory=list)
    """What `input()` asked for."""
    statuses: list[str] = field(default_factory=list)
    echo: Content = field(default_factory=dict)

    @property
    def order(self) -> list[str]:
        """Types of the messages; the pieces of one stream count once, and so does a stream that another follows."""
        types = [msg_type for msg_type, _ in self.messages]
        return [kind for before, kind in zip(["", *types], types, strict=False) if (before, kind) != ("stream",) * 2]

    def of(self, msg_type: str) -> list[Content]:
        """The contents of the messages of a type."""
        return [content for kind, content in self.messages if kind == msg_type]

    def stream(self, name: str = "stdout") -> str:
        """What was printed."""
        return "".join(content["text"] for content in self.of("stream") if content["name"] == name)

    @property
    def data(self) -> Content:
        """The MIME bundle of the one result or display."""
        (content,) = self.of("execute_result") + self.of("display_data")
        return dict(content["data"])

    @property
    def text(self) -> str:
        """The text of the one result or display."""
        return str(self.data["text/plain"])


Answer = Callable[[Content], str]


class Client:
    """Sends requests to one kernel; every wait is bounded."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client: Any = client
        self._cells: defaultdict[str, Cell] = defaultdict(Cell)

    def begin(self, code: str, **options: Any) -> str:
        """Send a cell and wait for nothing; returns the request's id."""
        return str(self.client.execute(code, **{"allow_stdin": False, **options}))

    def run(self, code: str, answer: Answer | None = None, **options: Any) -> Cell:
        """Run a cell to its end. `answer` makes of an `input_request` what the person types."""
        return self.end(self.begin(code, **{"allow_stdin": answer is not None, **options}), answer)

    def ask(self, request: str, *arguments: Any, **named: Any) -> Content:
        """The reply to a request of another kind; `request` is the name of the client's method."""
        return self.end(getattr(self.client, request)(*arguments, **named)).reply

    def end(self, msg_id: str, answer: Answer | None = None) -> Cell:
        """Collect what belongs to a request, until its reply and its idle status are there."""
        self.until(msg_id, lambda cell: bool(cell.reply) and cell.statuses[-1:] == ["idle"], answer)
        return self._cells.pop(msg_id)

    def asked(self, msg_id: str) -> Content:
        """Wait until a cell asks for input, and give no answer."""
        message = self.client.stdin_channel.get_msg(timeout=WAIT_S)
        assert message["parent_header"]["msg_id"] == msg_id
        return dict(message["content"])

    def until(self, msg_id: str, holds: Callable[[Cell], bool], answer: Answer | None = None) -> Cell:
        """Take messages until something holds of a request's cell."""
        cell = self._cells[msg_id]
        deadline = time.monotonic() + WAIT_S
        while not holds(cell):
            assert time.monotonic() < deadline, f"this is all within {WAIT_S} s: {cell}"
            for message in self._next(self.client.stdin_channel, 0):
                cell.asked.append(message["content"])
                assert answer is not None, f"nobody is there to answer {message['content']}"
                self.client.input(answer(message["content"]))
            for message in self._next(self.client.shell_channel, 0):
                self._of(message).reply = message["content"]
            for message in self._next(self.client.iopub_channel, POLL_S):
                self._take(self._of(message), message["msg_type"], message["content"])
        return cell

    def _next(self, channel: Any, timeout_s: float) -> Iterator[dict[str, Any]]:
        try:
            yield channel.get_msg(timeout=timeout_s)
        except Empty:
            return

    def _of(self, message: dict[str, Any]) -> Cell:
        return self._cells[message["parent_header"].get("msg_id", "")]

    def _take(self, cell: Cell, msg_type: str, content: Content) -> None:
        if msg_type == "status":
            cell.statuses.append(content["execution_state"])
        elif msg_type == "execute_input":
            cell.echo = content
        else:
            cell.messages.append((msg_type, content))


@contextmanager
def started(kernel_name: str, directory: Path, **policy: dict[str, Any]) -> Iterator[Client]:
    """Start a kernel as a client of another project would, and end it.

    Args:
        kernel_name: `STOCK` is the stock kernel of this environment; any other name the shipped kernelspec.
        directory: short, private and empty.
        policy: changes to the shipped policy, by its parts.
    """
    write_spec(directory, "rlm-python", policy)
    specs = KernelSpecManager(kernel_dirs=[str(directory / "kernels")])
    # By tcp whatever else of the machine binds a chosen port before the kernel does would end it; ours is ipc anyway.
    ipc = {"transport": "ipc", "connection_file": str(directory / "k.json")} if kernel_name == STOCK else {}
    manager = KernelManager(kernel_name=kernel_name, kernel_spec_manager=specs, **ipc)
    manager.start_kernel(env={**os.environ, "IPYTHONDIR": str(directory / "ipython")})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=WAIT_S)
        yield Client(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        client.context.destroy(linger=0)
