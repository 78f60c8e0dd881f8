"""What a server does whose client's sessions are in a cluster: each tool and notebook by a router.

Is: the three things that differ from a server with a registry of its own, for whoever builds one. Is not: the router:
it lies above this part of the package (`cluster/`), is an extra, and is imported by its name when the client uses it
first. Above: `server/app.py`, `host/kinds/pipes.py`. Below: the settings, the SDK's types.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from mcp.types import CallToolResult

from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.settings import ENTRANCE, Settings

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry


class Named(Protocol):
    """A tool, as far as it is known here."""

    @property
    def name(self) -> str: ...


class Routed(Protocol):
    """What stands for a registry (`cluster/router/routed.py`)."""

    async def call_tool(
        self, name: str, request: Any, arguments: Mapping[str, Any], caller: Caller | None
    ) -> CallToolResult: ...

    async def notebook(self, session_id: str) -> tuple[str, int]: ...


async def opened(settings: Settings) -> Registry:
    """The router of one client, in place of a registry. Raises: InvalidInput: there is no such cluster, or no [ray]."""
    entrance = await asyncio.to_thread(importlib.import_module, ENTRANCE)
    routed: Registry = await entrance.routed(settings)
    return routed


async def do(
    row: Named,
    get_registry: Callable[[str | None], Awaitable[Registry]],
    caller: Caller | None,
    request: object,
    arguments: Mapping[str, Any],
    _waiting: object,
) -> CallToolResult:
    """Have a tool called by the router. Raises: RlmError."""
    routed = cast(Routed, await get_registry(None))
    return await routed.call_tool(row.name, request, arguments, caller)


async def notebook(registry: Registry, session_id: str) -> tuple[str, int]:
    """A session's notebook, and how many of its events are damaged. Raises: RlmError."""
    return await cast(Routed, registry).notebook(session_id)
