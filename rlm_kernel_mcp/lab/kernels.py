"""The kernels of the server of `lab`: those of live sessions, which come and go by themselves, and its own.

Is: the list, kept true by the record; and who ends a kernel: a session's is ended and replaced by its host alone. Is
not: which sessions there are (`there.py`), nor what passes to a page (`channels.py`). Above: `locked_server.py`. Below:
`there.py`, `live_kernel.py`, jupyter_server.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import zmq
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import HTTPError
from traitlets import Unicode

from rlm_kernel_mcp.kernel.bounded_sockets import BoundedSockets
from rlm_kernel_mcp.lab.live_kernel import LiveKernel, LockedKernel, record_state
from rlm_kernel_mcp.lab.there import Place, Record, connection_of
from rlm_kernel_mcp.text.safe_text import safe_text

LOOK_MS: Final = 1_000
"""Between two looks at the record."""
MESSAGE_BYTES_MAX: Final = 8 << 20
"""Of one part of a kernel's message: libzmq drops the connection past it."""
MESSAGES_MAX: Final = 200
"""That libzmq keeps for one socket."""
KERNEL_NAME: Final = "rlm-python"
LOCKED: Final = frozenset({KERNEL_NAME, "rlm-python-data"})
"""The kernelspecs from which a kernel may be started."""
_LETS_GO: Final[ContextVar[bool]] = ContextVar("lets_go", default=False)


class LiveKernels(AsyncMappingKernelManager):  # type: ignore[misc]  # jupyter_server is not installed everywhere
    """jupyter_server's kernels, of which some are others'."""

    state_dir = Unicode("", config=True, help="Where the servers of this user keep their record.")

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.kernel_manager_class = f"{LockedKernel.__module__}.{LockedKernel.__name__}"
        self.context.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        self.context.setsockopt(zmq.RCVHWM, MESSAGES_MAX)
        self._loop = IOLoop.current()
        self.bounded = BoundedSockets(lambda path, why: self._loop.add_callback(self._tell_of, path, why))
        self._record = Record(Path(self.state_dir))
        self._looks = PeriodicCallback(self.look, LOOK_MS)
        self._looks.start()

    def look(self) -> None:
        """Have the list as the record has it."""
        found = self._record.places()
        if found is None:
            return
        there = {kernel_id_of(place.session_id): place for place in found}
        for kernel_id, kernel in self._live():
            if kernel_id not in there:
                self._remove(kernel_id, "dead")
            elif not kernel.is_at(there[kernel_id]):
                self._remove(kernel_id, "restarting")
        for kernel_id, place in there.items():
            if kernel_id not in self._kernels:
                self._add(kernel_id, place)

    def _live(self) -> list[tuple[str, LiveKernel]]:
        return [(one, kernel) for one, kernel in self._kernels.items() if isinstance(kernel, LiveKernel)]

    def _add(self, kernel_id: str, place: Place) -> None:
        connection = connection_of(place)
        if connection is None:
            return
        kernel = LiveKernel(
            parent=self, log=self.log, context=self.context, kernel_spec_manager=self.kernel_spec_manager
        )
        kernel.kernel_name = KERNEL_NAME
        kernel.attach(kernel_id, place, connection)
        self._kernels[kernel_id] = kernel
        self._kernel_connections.setdefault(kernel_id, 0)
        self.start_watching_activity(kernel_id)

    def _tell_of(self, path: str, why: str) -> None:
        """Tell the pages of a kernel that a connection to it was ended."""
        for kernel in list(self._kernels.values()):
            if path.startswith(f"{kernel.ip}-"):
                for page in list(kernel.pages):  # one that does not read leaves meanwhile
                    page.tell(f"the kernel has sent {why}: a connection to it was ended, and is made anew")

    def _remove(self, kernel_id: str, state: str) -> None:
        self.stop_watching_activity(kernel_id)
        kernel = self._kernels.pop(kernel_id)
        self.bounded.forget(kernel.ip)
        for page in list(kernel.pages):
            page.leave(state)
        if state == "dead":
            self._kernel_connections.pop(kernel_id, None)

    def list_kernels(self) -> list[dict[str, Any]]:
        """All of them, as of now."""
        self.look()
        listed: list[dict[str, Any]] = super().list_kernels()
        return listed

    def start_watching_activity(self, kernel_id: str) -> None:
        """Hear what a kernel does. jupyter_server's own would take any word of it for a state."""
        kernel = self._kernels[kernel_id]
        kernel._activity_stream = kernel.connect_iopub()  # where jupyter_server finds and closes it
        kernel._activity_stream.on_recv(lambda frames: record_state(kernel, frames))

    async def _started(self, *, kernel_id: str | None = None, path: Any = None, **options: Any) -> str:
        """Start a kernel of this server's own.

        jupyter_client finds `python3` by its name wherever ipykernel is installed, whatever is allowed.

        Raises:
            HTTPError: 404, where it would not be a locked one.
        """
        name = options.get("kernel_name") or self.default_kernel_name
        if kernel_id not in self._kernels and name not in LOCKED:
            raise HTTPError(
                404, f"There is no kernel {safe_text(str(name))[:100]!r} here, but {', '.join(sorted(LOCKED))}."
            )
        started: str = await super()._async_start_kernel(kernel_id=kernel_id, path=path, **options)
        return started

    def refusal(self, kernel_id: str, what: str) -> HTTPError | None:
        """Why a kernel is not restarted or ended here; None where it is this server's own."""
        kernel = self._kernels.get(kernel_id)
        if not isinstance(kernel, LiveKernel):
            return None
        session_id = kernel.place.session_id
        return HTTPError(
            409,
            f"This kernel was not {what}: it is that of the agent's session {session_id}, and its host alone ends it. "
            f"`rlm-kernel-mcp kill {session_id}` does so; its values come back when the session is used.",
            reason="Conflict",
        )

    async def _shut_down(self, kernel_id: str, now: bool = False, restart: bool = False) -> None:
        """End one of this server's own. Raises: HTTPError 409, where it is a session's."""
        refusal = self.refusal(kernel_id, "shut down")
        if refusal is None:
            stem = "" if restart or kernel_id not in self._kernels else self._kernels[kernel_id].ip
            await super()._async_shutdown_kernel(kernel_id, now=now, restart=restart)
            if stem:
                self.bounded.forget(stem)
        elif not _LETS_GO.get():
            raise refusal

    async def _restarted(self, kernel_id: str, now: bool = False) -> Any:
        """Restart one of this server's own. Raises: HTTPError 409, where it is a session's."""
        if (refusal := self.refusal(kernel_id, "restarted")) is not None:
            raise refusal
        return await super()._async_restart_kernel(kernel_id, now=now)

    _async_start_kernel = start_kernel = _started
    _async_shutdown_kernel = shutdown_kernel = _shut_down
    _async_restart_kernel = restart_kernel = _restarted

    async def shutdown_all(self, now: bool = False) -> None:
        """The server ends: its own kernels with it, and of the others only its connections."""
        self._looks.stop()
        self._record.close()
        for kernel_id, _ in self._live():
            self._remove(kernel_id, "dead")
        await super().shutdown_all(now=now)


@contextmanager
def letting_go() -> Iterator[None]:
    """Within it a session's kernel that a document leaves for another is left, and not ended."""
    token = _LETS_GO.set(True)
    try:
        yield
    finally:
        _LETS_GO.reset(token)


def kernel_id_of(session_id: str) -> str:
    """jupyter_server asks for five groups; pages show the first, which is the session's id."""
    return f"{session_id}-live-rlm-session-kernel"
