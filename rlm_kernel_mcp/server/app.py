"""The server as a process: the SDK's low-level server over our stdio, the registry's life, signals and ends.

Is: who starts what and in which order things end. `initialize` is answered before anything of Jupyter is imported;
EOF, SIGTERM and SIGINT all end with the kernels gone. Is not: tools (`tools.py`) or lines (`frames.py`).
Above: `cli.py`. Below: `tools.py`, `stdio.py`, `session/registry.py` (imported in the background).
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    JSONRPCRequest,
    ListToolsResult,
    PaginatedRequestParams,
)

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.server import descriptions as words
from rlm_kernel_mcp.server import tools
from rlm_kernel_mcp.server.log_stream import LogStream
from rlm_kernel_mcp.server.requests import NO_OBJECT
from rlm_kernel_mcp.server.stdio import stdio_streams
from rlm_kernel_mcp.settings import Settings, doubts
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.text.safe_text import safe_text

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 5.0
PATIENCE_S: Final = 5.0
STEP_PATIENCE_S: Final = 1.0
LOG_DEADLINE_S: Final = 0.5
SIGNAL_DEADLINE_S: Final = 1.5
"""Codex sends SIGKILL 2 s after SIGTERM; by then the kernels must be gone by our own hand."""
END_DEADLINE_S: Final = 10.0
"""The same at the end of the input, where nobody is about to kill us."""


class LazyRegistry:
    """The registry, opened in the background once a client has shown that it will use it."""

    def __init__(self, open_registry: Callable[[], Awaitable[Registry]]) -> None:
        self._open_registry = open_registry
        self._opening: asyncio.Task[Registry] | None = None

    def warm(self) -> asyncio.Task[Registry]:
        """Begin to open it, if nobody has; after a failure begin again."""
        if self._opening is None or _failed(self._opening):
            self._opening = asyncio.create_task(self._open(), name="open registry")
        return self._opening

    async def get(self) -> Registry:
        """The open registry. A caller that is cancelled leaves the opening alone."""
        return await asyncio.shield(self.warm())

    async def close(self) -> None:
        """End every kernel; whatever state the opening is in."""
        if self._opening is None:
            return
        self._opening.cancel()
        await asyncio.wait([self._opening])
        if not _failed(self._opening):
            await self._opening.result().close()

    async def _open(self) -> Registry:
        try:
            return await self._open_registry()
        except RlmError as error:
            log.error("%s: %s", error.code, error.message)
            raise


def _failed(task: asyncio.Task[Registry]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def open_registry(settings: Settings) -> Registry:
    """Import the session layer, Jupyter with it, in a thread, so that the server goes on answering; then open it."""
    module = await asyncio.to_thread(importlib.import_module, "rlm_kernel_mcp.session.registry")
    registry: Registry = await module.Registry.open(settings)
    return registry


async def _open_for_good(settings: Settings) -> Registry:
    """As `open_registry`, and what is there then stays: no collection of garbage goes through it again.

    It is 100,000 objects, for which everybody waits 70 ms, and a kernel's messages of small items bring it about.
    """
    registry = await open_registry(settings)
    gc.freeze()
    return registry


def build_server(
    open_registry: Callable[[], Awaitable[Registry]], on_message: Callable[[], None] = lambda: None
) -> Server[LazyRegistry]:
    """The MCP server; its lifespan owns the registry. `on_message` is called at each message."""

    @asynccontextmanager
    async def lifespan(_server: Server[LazyRegistry]) -> AsyncIterator[LazyRegistry]:
        registry = LazyRegistry(open_registry)
        try:
            yield registry
        finally:
            with anyio.CancelScope(shield=True):  # the process ends behind this, so it is waited for
                await shielded(registry.close(), "the end of the sessions")

    server = Server(
        "rlm-kernel-mcp",
        version=__version__,
        title="RLM kernel",
        instructions=words.INSTRUCTIONS,
        lifespan=lifespan,
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
    )
    # In place of the SDK's own, which makes a tracing span for each call: nobody collects them here.
    server.middleware[:] = [_accept_any_arguments(on_message)]
    return server


async def serve(settings: Settings) -> None:
    """Serve one client on stdin and stdout until the input ends or a signal comes."""
    spoken = anyio.Event()
    server = build_server(lambda: _open_for_good(settings), spoken.set)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_on_signal, tasks.cancel_scope)
        tasks.start_soon(_end_with_parent, spoken, tasks.cancel_scope)
        streams = stdio_streams(on_end=lambda: _set_deadline(END_DEADLINE_S), patience=patience)
        async with streams as (read_side, write_side):
            await server.run(read_side, write_side, server.create_initialization_options())
        tasks.cancel_scope.cancel()


def run(settings: Settings) -> NoReturn:
    """Entry of `rlm-kernel-mcp serve`: serves, and ends the process."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    out = LogStream(2)
    # Whatever Python itself writes there must not wait either.
    sys.stdout = sys.stderr = out
    logging.basicConfig(stream=out, level=logging.WARNING, format=form)
    logging.getLogger("rlm_kernel_mcp").setLevel(logging.INFO)
    for doubt in doubts(os.environ, settings):
        log.warning("%s", doubt)
    try:
        anyio.run(serve, settings)
    except BaseException:
        log.exception("the server ended")
        out.finish(LOG_DEADLINE_S)
        raise
    out.finish(LOG_DEADLINE_S)
    # All is closed. What is left of the interpreter's own ending takes 0.2 s and waits for threads that may not end.
    os._exit(0)


def patience(request: JSONRPCRequest) -> float:
    """Seconds that a request may still take when the input has ended: what waits for a step is not waited for long."""
    name = (request.params or {}).get("name")
    return STEP_PATIENCE_S if name in ("rlm_run_repl", "rlm_await_step") else PATIENCE_S


async def _list_tools(
    ctx: ServerRequestContext[LazyRegistry], _params: PaginatedRequestParams | None
) -> ListToolsResult:
    # Only now: an import in the background would slow down `initialize`, on which clients have an eye.
    ctx.lifespan_context.warm()
    return ListToolsResult(tools=[row.listed() for row in tools.TABLE])


async def _call_tool(ctx: ServerRequestContext[LazyRegistry], params: CallToolRequestParams) -> CallToolResult:
    row = tools.BY_NAME.get(params.name)
    if row is None:
        known = ", ".join(tools.BY_NAME)
        raise MCPError(INVALID_PARAMS, f"There is no tool {safe_text(params.name[:64])!r}; the tools are: {known}.")
    answering = tools.answer(row, ctx.lifespan_context.get, params.arguments or {})
    if ctx.meta is None or "progress_token" not in ctx.meta:
        return await answering
    with _progress(ctx):
        return await answering


def _accept_any_arguments(on_message: Callable[[], None]) -> ServerMiddleware[LazyRegistry]:
    """Let arguments that are no object reach the tool, which refuses them in our words; the SDK would in its own."""

    async def accept(ctx: ServerRequestContext[LazyRegistry, Any], call_next: CallNext) -> HandlerResult:
        on_message()
        if ctx.method == "tools/call" and isinstance(ctx.params, Mapping):
            arguments = ctx.params.get("arguments")
            if arguments is not None and not isinstance(arguments, dict):
                ctx = replace(ctx, params={**ctx.params, "arguments": {NO_OBJECT: arguments}})
        return await call_next(ctx)

    return accept


@contextmanager
def _progress(ctx: ServerRequestContext[LazyRegistry]) -> Iterator[None]:
    """Report while a call waits: some clients give up on a silent server.

    Awaits nothing itself: a call cut off there would have made a session whose handle nobody is told.
    """

    async def report() -> None:
        begin = anyio.current_time()
        while True:
            await anyio.sleep(PROGRESS_INTERVAL_S)
            waited = anyio.current_time() - begin
            await ctx.session.report_progress(waited, message=f"waiting for {waited:.0f} s")

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("no progress is reported any more: %r", error)

    reporting = asyncio.create_task(report(), name="progress")
    reporting.add_done_callback(ended)
    try:
        yield
    finally:
        reporting.cancel()


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for received in signals:
            log.info("ending on %s", received.name)
            _set_deadline(SIGNAL_DEADLINE_S)
            scope.cancel()
            return


async def _end_with_parent(spoken: anyio.Event, scope: anyio.CancelScope) -> None:
    """End when the process that started this one does: another may hold its end of the pipe, so that no EOF comes.

    The parent is looked for when the client first speaks: what only launched the server may be gone by then.
    """
    await spoken.wait()
    parent = os.getppid()
    try:
        descriptor = os.pidfd_open(parent)
    except OSError as error:
        log.info("the end of the client's process will not be noticed: %s", error.strerror)
        return
    try:
        if os.getppid() == parent:
            await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    log.warning("ending: process %d, which started this server, has ended", parent)
    _set_deadline(END_DEADLINE_S)
    scope.cancel()


def _set_deadline(seconds: float) -> None:
    """End the process then at the latest, whatever hangs. Kernels that are left notice that their host is gone."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
