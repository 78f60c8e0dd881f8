"""The sessions of a program in its own process: a registry, called without MCP.

Is: its beginning and its end. Is not: the calls (`registry_calls.py`), nor a server: nothing listens, and nobody else
is served. Above: `api.py`. Below: `registry_calls.py`, `program.py`, `session/registry.py` (imported when it is
opened).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.doors.loop_thread import REOPEN
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.doors.registry_calls import RegistryCalls
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.callers.caller import give_to
from rlm_kernel_mcp.shielded import shielded

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

CLOSE_S: Final = 15.0
"""More than the bounds of a registry's own close."""

OpenRegistry = Callable[[], Awaitable["Registry"]]


class InProcess(RegistryCalls):
    """`Door`: sessions whose kernels are this process's children."""

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        *,
        program: Program | None = None,
        open_registry: OpenRegistry | None = None,
    ) -> None:
        """`env`: settings (`RLM_...`) that go before those of the environment.

        `program`: that has opened its directories already.
        """
        self._env = dict(env or {})
        self._program = program
        self._open_registry = open_registry or self._opened
        self._registry: Registry | None = None

    async def registry(self, _session_id: str | None = None) -> Registry:
        if self._registry is None:
            raise InvalidInput("The session is closed.", REOPEN)
        return self._registry

    async def open(self) -> None:
        if self._registry is None:
            self._registry = await self._open_registry()

    async def _opened(self) -> Registry:
        program = self._program or Program.of(self._env)
        module = await asyncio.to_thread(importlib.import_module, "rlm_kernel_mcp.session.registry")
        registry: Registry = await module.Registry.open(program.settings)
        if program.opened:
            give_to(registry, program.caller())
        return registry

    async def let_go(self, session_id: str) -> None:
        if self._registry is not None:
            await super().let_go(session_id)

    async def close(self) -> None:
        registry, self._registry = self._registry, None
        if registry is not None:
            await shielded(registry.close(), "the end of the sessions", within_s=CLOSE_S)
