"""One kernel as the server of `lab` holds it: one of its own, or that of a live session.

Is: what jupyter_server asks of a kernel; of a session's only its sockets, its state and an interrupt. Is not: the list
(`kernels.py`). Above: `kernels.py`. Below: `relay.py`, `there.py`, jupyter_server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

from rlm_kernel_mcp.kernel.untrusted.messages import BadMessage
from rlm_kernel_mcp.lab.cells import Cells
from rlm_kernel_mcp.lab.relay import state_said
from rlm_kernel_mcp.lab.there import Place
from rlm_kernel_mcp.wire import TakeBack

ASKED_MS: Final = 10_000
"""How long a request may be on its way to a kernel; nobody waits for it."""
STATE_BYTES_MAX: Final = 4_096
"""Of a message that is looked into for a state."""


class LockedKernel(ServerKernelManager):  # type: ignore[misc]  # jupyter_server is not installed everywhere
    """A kernel of this server's own, from one of our kernelspecs."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.pages: set[Any] = set()
        """Connections of pages (`channels.py`)."""
        self.cells = Cells()

    def _make_url(self, channel: str) -> str:
        """Where jupyter_client connects to: what a kernel sends without an end does not come there."""
        url: str = super()._make_url(channel)
        bounded: str = self.parent.bounded.url(url)
        return bounded


class LiveKernel(LockedKernel):
    """The kernel of a live session, which its host owns."""

    place: Place

    def __init__(self, **traits: Any) -> None:
        super().__init__(owns_kernel=False, **traits)

    def attach(self, kernel_id: str, place: Place, connection: Mapping[str, Any]) -> None:
        """Say which kernel it is, once."""
        self.kernel_id, self.place = kernel_id, place
        self.load_connection_info(dict(connection))
        self.last_activity = datetime.now(UTC)
        self.execution_state = "busy" if place.is_busy else "idle"
        self.ready.set_result(None)

    def is_at(self, place: Place) -> bool:
        """Whether it is the same kernel still."""
        return (self.place.connection_file, self.place.pid) == (place.connection_file, place.pid)

    async def interrupt_kernel(self) -> None:
        """Interrupt the cell of a page that runs, and take back those that wait.

        The kernel is asked in the name of who sent them, so that a step of the agent's is not meant: that is
        `rlm_interrupt`'s matter. Where no page has a cell nothing is asked.
        """
        for session, cells in self.cells.by_session().items():
            asked = self.session.msg("interrupt_request", TakeBack(rlm_take_back=cells))
            asked["header"]["session"] = session
            with self._create_connected_socket("control") as control:
                control.linger = ASKED_MS
                self.session.send(control, asked)

    def cleanup_connection_file(self) -> None:
        """Its host's file stays."""

    def cleanup_ipc_files(self) -> None:
        """Its host's sockets stay."""


def record_state(kernel: LockedKernel, frames: Sequence[Any]) -> None:
    """Note what a kernel does, by a message of its own, where it says so in a way that is known; and cells that end."""
    if sum(map(len, frames)) > STATE_BYTES_MAX:
        return
    try:
        said = state_said([bytes(frame) for frame in frames])
    except BadMessage:
        return
    if said is not None:
        kernel.execution_state, request = said
        if kernel.execution_state == "idle":
            kernel.cells.end(request)
        kernel.last_activity = datetime.now(UTC)
    elif kernel.execution_state == "starting":
        kernel.execution_state = "idle"
