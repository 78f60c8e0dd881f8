"""The server as a process: which transport carries it, signals, and how and when everything ends.

Is: who starts what, and in which order everything ends. `initialize` is answered before anything of Jupyter is
imported; EOF, SIGTERM and SIGINT all end with the kernels gone. Is not: the MCP server (`mcp_server.py`), or how its
messages come and go (`transport/`). Above: `cli.py`. Below: `mcp_server.py`, `transport/stdio.py`, `log_stream.py`.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import anyio
from anyio.abc import TaskGroup
from mcp.server.lowlevel import Server
from mcp.types import JSONRPCRequest

from rlm_kernel_mcp.server import tools
from rlm_kernel_mcp.server.elsewhere import in_cluster
from rlm_kernel_mcp.server.log_stream import LogStream
from rlm_kernel_mcp.server.mcp_server import (
    LazyRegistry,
    WriteNotebook,
    build_server,
    offer_resources,
    open_registry,
)
from rlm_kernel_mcp.server.transport.stdio import stdio_streams
from rlm_kernel_mcp.session.callers.caller import Caller, give_to
from rlm_kernel_mcp.settings import Settings, doubts

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
STEP_PATIENCE_S: Final = 1.0
LOG_DEADLINE_S: Final = 0.5
SIGNAL_DEADLINE_S: Final = 1.5
"""Codex sends SIGKILL 2 s after SIGTERM; by then the kernels must be gone by our own hand."""
END_DEADLINE_S: Final = 10.0
"""The same at the end of the input, where nobody is about to kill us."""


async def _open_for_good(settings: Settings) -> Registry:
    """As `open_registry`; garbage collections leave alone what exists by then.

    Those are some 100,000 objects. A full collection of them takes 70 ms, in which everybody waits, and a kernel can
    bring it about with messages of many small items.
    """
    registry = await open_registry(settings)
    gc.freeze()
    return registry


async def serve(settings: Settings, notebook: WriteNotebook, handed: Sequence[int] = ()) -> None:
    """Serve until the transport has no client left or a signal comes.

    `notebook`: writes that of a session. `handed`: what the front was given that this process has been: the page of its
    connection, and open roots.
    """
    spoken = anyio.Event()
    page, *roots = handed or (None,)
    caller = Caller.of_descriptors("stdio", settings, roots) if roots else Caller.of("stdio", settings)

    async def opened() -> Registry:
        if settings.cluster:
            return await in_cluster.opened(settings)
        registry = await _open_for_good(settings)
        give_to(registry, caller)
        return registry

    server = build_server(
        opened,
        spoken.set,
        lambda _ctx: caller,
        asks_models=settings.subcalls.is_open_world,
        is_answered=settings.subcalls.is_answered,
        do=in_cluster.do if settings.cluster else tools.here,
    )
    offer_resources(server, lambda _ctx: caller, in_cluster.notebook if settings.cluster else notebook)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_on_signal, tasks.cancel_scope)
        await _serve_stdio(server, spoken, tasks, page)  # the transport: it is chosen here and nowhere else
        tasks.cancel_scope.cancel()


async def _serve_stdio(server: Server[LazyRegistry], spoken: anyio.Event, tasks: TaskGroup, page: int | None) -> None:
    """Serve the one client on stdin and stdout until the input ends. Its process is our parent."""
    tasks.start_soon(_end_with_parent, spoken, tasks.cancel_scope)
    streams = stdio_streams(lambda: set_deadline(END_DEADLINE_S), patience, page)
    async with streams as (read_side, write_side):
        await server.run(read_side, write_side, server.create_initialization_options())


def run(
    settings: Settings,
    environ: Mapping[str, str],
    notebook: WriteNotebook,
    handed: str = "",
    without_host: str = "",
) -> NoReturn:
    """Entry of `rlm-kernel-mcp serve`: serves, and ends the process. `environ`: what the settings were made from.

    `handed`: the descriptors for `serve`, as text. `without_host`: why a front has become this process.
    """
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    out = LogStream(2)
    # Whatever Python itself writes there must not wait either.
    sys.stdout = sys.stderr = out
    logging.basicConfig(stream=out, level=logging.WARNING, format=form)
    logging.getLogger("rlm_kernel_mcp").setLevel(logging.INFO)
    descriptors = [int(number) for number in handed.split(",") if number]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if without_host:
        log.warning("serving in this process, without a host: %s", without_host)
    for doubt in doubts(environ, settings):
        log.warning("%s", doubt)
    try:
        anyio.run(serve, settings, notebook, descriptors)
    except BaseException:
        log.exception("the server ended")
        out.finish(LOG_DEADLINE_S)
        raise
    out.finish(LOG_DEADLINE_S)
    # All is closed. The interpreter's own shutdown would take 0.2 s more and wait for threads that may not end.
    os._exit(0)


def patience(request: JSONRPCRequest) -> float:
    """Seconds that a request may still take when the input has ended: one that waits for a step gets fewer."""
    name = (request.params or {}).get("name")
    return STEP_PATIENCE_S if name in ("rlm_run_repl", "rlm_await_step", "rlm_answer") else PATIENCE_S


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for received in signals:
            log.info("ending on %s", received.name)
            set_deadline(SIGNAL_DEADLINE_S)
            scope.cancel()
            return


async def _end_with_parent(spoken: anyio.Event, scope: anyio.CancelScope) -> None:
    """End when the process that started this one does: another may hold its end of the pipe, so that no EOF comes."""
    parent = await end_of_starter(spoken, os.getppid)
    if parent is not None:
        log.warning("ending: process %d, which started this server, has ended", parent)
        set_deadline(END_DEADLINE_S)
        scope.cancel()


async def end_of_starter(spoken: anyio.Event, parent_now: Callable[[], int]) -> int | None:
    """Wait for the end of the process that started a client's own, and return its number; None: it cannot be told.

    It is looked for when the client first speaks: what only launched it may be gone by then.
    """
    await spoken.wait()
    parent = parent_now()
    try:
        descriptor = os.pidfd_open(parent)
    except (OSError, ValueError) as error:
        log.info("the end of the client's process will not be noticed: %s", error)
        return None
    try:
        if parent_now() == parent:
            await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    return parent


def set_deadline(seconds: float) -> None:
    """End the process after so many seconds, whatever hangs. Kernels that are left notice that their host is gone."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
