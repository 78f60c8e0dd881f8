"""What an MCP server has in place of a registry, where the sessions are in a cluster.

Is: the tools and resources of one client, each by the router; its paths are read here. Is not: the tools, which are the
nodes' (`server/tools.py` there), nor the way of a call (`router.py`). Above: the entrance of a cluster. Below:
`way.py`, `paths.py`, `lists.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from mcp.types import CallToolResult

from rlm_kernel_mcp.cluster.node.messages import Asked, Calling
from rlm_kernel_mcp.cluster.router.lists import listed
from rlm_kernel_mcp.cluster.router.paths import adding, opening
from rlm_kernel_mcp.cluster.router.way import Way
from rlm_kernel_mcp.server import requests, responses
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.reports import SessionList
from rlm_kernel_mcp.session.trace.reports import TracePage
from rlm_kernel_mcp.shielded import shielded

CLOSE_S: Final = 15.0


class Routed:
    """One client's: as much of a `Registry` as its server asks for where it has the sessions itself."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._connection = f"client {secrets.token_hex(8)}"

    async def call_tool(
        self, name: str, request: requests.Request, arguments: Mapping[str, Any], caller: Caller | None
    ) -> CallToolResult:
        """The answer of a tool, as the node that has the session gives it. Raises: RlmError: none does."""
        assert caller is not None  # over stdio and a host's pipes there is one
        calling = self._calling(caller)
        if isinstance(request, requests.ListSessions):
            found = await listed(self._way, request.state, request.limit, request.offset, calling)
            return responses.sessions(found, request.response_format)
        if isinstance(request, requests.InitContext):
            asked = await opening(arguments, caller, self._way.store)
        elif isinstance(request, requests.AddContext):
            asked = await adding(arguments, caller, self._way.store)
        else:
            asked = Asked(arguments)
        answer = await self._way.router.call(f"tool:{name}", asked, calling)
        return CallToolResult.model_validate(answer.value())

    async def list_sessions(self, *, state: str, limit: int, offset: int, caller: Caller | None = None) -> SessionList:
        """As `Registry.list_sessions`, of all nodes."""
        return await listed(self._way, state, limit, offset, self._calling(caller))

    async def get_trace(self, session_id: str, **wanted: Any) -> TracePage:
        """As `Registry.get_trace`."""
        asked = Asked({"session_id": session_id, **wanted})
        page: TracePage = (await self._way.router.call("door:trace_page", asked, self._calling(None))).value(TracePage)
        return page

    async def notebook(self, session_id: str) -> tuple[str, int]:
        """The notebook of a session, and how many of its events are damaged."""
        answer = await self._way.router.call("door:notebook", Asked({"session_id": session_id}), self._calling(None))
        found: tuple[str, int] = answer.value(tuple[str, int])
        return found

    async def close(self) -> None:
        """The client has gone. Its sessions stay where they are."""
        await shielded(self._way.close(), "the end of a way into a cluster", within_s=CLOSE_S)

    def _calling(self, caller: Caller | None) -> Calling:
        return Calling(self._connection, "" if caller is None else caller.client)
