"""The MCP server, whatever carries it: the SDK's low-level server with our handlers, and the registry behind them.

Is: what is listed, how a call reaches its tool, progress while it waits, and the registry's life between the first and
the last message. Is not: a process or a transport (`app.py`), nor a tool (`tools.py`).
Above: `app.py`, which runs it over a transport. Below: `tools.py`, `offered/resources.py`, `session/registry.py`
(imported in the background).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)

from rlm_kernel_mcp import __version__
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.server import descriptions, markdown, tools
from rlm_kernel_mcp.server.offered import session_view
from rlm_kernel_mcp.server.offered.resources import Resources, Written
from rlm_kernel_mcp.server.validation import NO_OBJECT
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.callers.profiles import Profiles
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.telemetry.spans import Request
from rlm_kernel_mcp.text.safe_text import safe_text

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry
    from rlm_kernel_mcp.session.watching.feeds import Feeds

log = logging.getLogger(__name__)
_importing: Final = ThreadPoolExecutor(1, thread_name_prefix="import")
"""Not asyncio's own threads: the server's end would wait for those, and its client kills it after 2 s."""

PROGRESS_INTERVAL_S = 5.0
LOADING_INTERVAL_S = 0.5
"""While a context is loaded there is more to tell."""
CLIENT_CHARS_MAX: Final = 200
"""Characters kept of what a client calls itself."""


OpenRegistry = Callable[[], Awaitable["Registry"]]
OfSession = Callable[[str], Awaitable["Registry"]]
WriteNotebook = Callable[["Registry", str], Awaitable[tuple[str, int]]]
"""`notebook/asked.py`, as far as it is known here."""


class LazyRegistry:
    """The registry, opened in the background once a client has shown that it will use it."""

    def __init__(self, open_registry: OpenRegistry, of_session: OfSession | None = None) -> None:
        """`of_session`: the registry that answers for a handle, where there may be others than this one."""
        self._open_registry = open_registry
        self._of_session = of_session
        self._opening: asyncio.Task[Registry] | None = None

    def warm(self) -> asyncio.Task[Registry]:
        """Begin to open it, unless that has been begun and has not failed."""
        if self._opening is None or _failed(self._opening):
            self._opening = asyncio.create_task(self._open(), name="open registry")
        return self._opening

    async def get(self, session_id: str | None = None) -> Registry:
        """The open registry, or that of a session. A caller that is cancelled leaves the opening alone."""
        own = await asyncio.shield(self.warm())
        return own if session_id is None or self._of_session is None else await self._of_session(session_id)

    async def close(self) -> None:
        """End every kernel, whatever state the opening is in."""
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


Context = ServerRequestContext[LazyRegistry]


CallerOf = Callable[[Context], Caller | None]


def _registry_s_own(_ctx: Context) -> None:
    return None


def _failed(task: asyncio.Task[Registry]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def opened(profile: Settings, slots: KernelSlots, feeds: Feeds | None = None) -> Registry:
    """Import the session layer, Jupyter with it, in a thread, so that the server goes on answering; then open it."""
    loop = asyncio.get_running_loop()
    module = await loop.run_in_executor(_importing, importlib.import_module, "rlm_kernel_mcp.session.registry")
    registry: Registry = await module.Registry.open(profile, slots, feeds)
    return registry


async def open_registry(settings: Settings) -> Registry:
    """The registry of the one client of a process."""
    profiles: Profiles[Registry] = Profiles(opened)  # of one client, so that this registry is the only one
    try:
        return await profiles.registry(settings)
    except BaseException:
        await shielded(profiles.close(), "the end of a registry that nobody waits for")
        raise


def build_server(  # noqa: PLR0913 (two of them are for what its client is told)
    open_registry: OpenRegistry,
    on_message: Callable[[], None] = lambda: None,
    caller_of: CallerOf = _registry_s_own,
    of_session: OfSession | None = None,
    *,
    asks_models: bool = False,
    is_answered: bool = False,
    do: tools.Doing = tools.here,
) -> Server[LazyRegistry]:
    """The MCP server; its lifespan owns the registry.

    Args:
        open_registry: opens it, when a client has shown that it will use it.
        on_message: called at each message.
        caller_of: whose connection a call came by; over stdio a server has one. None: as the registry's settings say.
        of_session: the registry that answers for a handle, where the process has others. None: it has not.
        asks_models: its client's user has questions of sessions go to an endpoint.
        is_answered: somebody answers them, there or here.
        do: does what a tool is for.
    """

    @asynccontextmanager
    async def lifespan(_server: Server[LazyRegistry]) -> AsyncIterator[LazyRegistry]:
        registry = LazyRegistry(open_registry, of_session)
        try:
            yield registry
        finally:
            with anyio.CancelScope(shield=True):  # the process ends right after this, so it is waited for
                await shielded(registry.close(), "the end of the sessions")

    server = Server(
        "rlm-kernel-mcp",
        version=__version__,
        title="RLM kernel",
        instructions=descriptions.instructions(asks_models=asks_models, is_answered=is_answered),
        lifespan=lifespan,
        on_list_tools=partial(_list_tools, asks_models=asks_models, is_answered=is_answered),
        on_call_tool=partial(_call_tool, caller_of=caller_of, do=do),
    )
    # The SDK's own middleware makes a tracing span for each message, for whatever the whole process collects; ours are
    # those of a registry (`telemetry/`).
    server.middleware[:] = [_accept_any_arguments(on_message)]
    return server


def offer_resources(server: Server[LazyRegistry], caller_of: CallerOf, notebook: WriteNotebook) -> None:
    """Have a server offer each session's trace and notebook. `notebook`: writes one, and lies above all of this."""
    Resources(caller_of, Written(markdown.trace, notebook)).offer(server)


async def _list_tools(
    ctx: Context, _params: PaginatedRequestParams | None, *, asks_models: bool, is_answered: bool
) -> ListToolsResult:
    # Only now: an import in the background would slow down `initialize`, which clients time.
    ctx.lifespan_context.warm()
    rows = [row.listed(asks_models=asks_models, is_answered=is_answered) for row in tools.TABLE]
    shows_pages = session_view.is_shown_by(ctx.session.client_capabilities)
    return ListToolsResult(tools=session_view.with_page(rows) if shows_pages else rows)


async def _call_tool(
    ctx: Context, params: CallToolRequestParams, caller_of: CallerOf = _registry_s_own, do: tools.Doing = tools.here
) -> CallToolResult:
    row = tools.BY_NAME.get(params.name)
    if row is None:
        known = ", ".join(tools.BY_NAME)
        raise MCPError(INVALID_PARAMS, f"There is no tool {safe_text(params.name[:64])!r}; the tools are: {known}.")
    came = Request(ctx.meta, "" if ctx.request_id is None else str(ctx.request_id), ctx.protocol_version)
    waiting = tools.Waiting(request=came)
    caller = _introduced(ctx, caller_of(ctx))
    answering = tools.answer(row, ctx.lifespan_context.get, caller, params.arguments or {}, waiting, do)
    if ctx.meta is None or "progress_token" not in ctx.meta:
        return await answering
    with _progress(ctx, waiting):
        return await answering


def _introduced(ctx: Context, caller: Caller | None) -> Caller | None:
    """Who calls, with what its client calls itself."""
    if caller is not None and not caller.client and (said := ctx.session.client_params) is not None:
        caller.client = safe_text(f"{said.client_info.name} {said.client_info.version}"[:CLIENT_CHARS_MAX])
    return caller


def _accept_any_arguments(on_message: Callable[[], None]) -> ServerMiddleware[LazyRegistry]:
    """Let arguments that are not an object reach the tool, which refuses them in our words and not in the SDK's."""

    async def accept(ctx: ServerRequestContext[LazyRegistry, Any], call_next: CallNext) -> HandlerResult:
        on_message()
        if ctx.method == "tools/call" and isinstance(ctx.params, Mapping):
            arguments = ctx.params.get("arguments")
            if arguments is not None and not isinstance(arguments, dict):
                ctx = replace(ctx, params={**ctx.params, "arguments": {NO_OBJECT: arguments}})
        return await call_next(ctx)

    return accept


@contextmanager
def _progress(ctx: Context, waiting: tools.Waiting) -> Iterator[None]:
    """Report while a call waits: some clients give up on a silent server.

    It reports bytes while the call waits for a context, else seconds. Neither the number nor the total ever becomes
    smaller, and a total that was sent stays.

    It awaits nothing: a call that was cancelled at such an await would leave a session whose handle nobody knows.
    """

    async def report() -> None:
        begin = sent = anyio.current_time()
        number = total = 0.0
        while True:
            await anyio.sleep(min(LOADING_INTERVAL_S, PROGRESS_INTERVAL_S))
            now = anyio.current_time()
            done, of = waiting.look() or (0, 0)
            if done > number:
                number, sent, total = done, now, max(of, total)
                await ctx.session.report_progress(done, total, f"{done:,} of {of:,} bytes of the context are loaded")
            elif now - sent >= PROGRESS_INTERVAL_S - LOADING_INTERVAL_S / 2:
                number, sent, waited = number + now - sent, now, now - begin
                total = max(number, total) if total else 0.0
                await ctx.session.report_progress(number, total or None, message=f"waiting for {waited:.0f} s")

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("no progress is reported any more: %r", error)

    reporting = asyncio.create_task(report(), name="progress")
    reporting.add_done_callback(ended)
    try:
        yield
    finally:
        reporting.cancel()
