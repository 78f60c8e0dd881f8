"""The sessions of a program in its own process: a registry, called without MCP.

Is: calls checked as the tools check them, and answered raw. Is not: a server: nothing listens, and nobody else is
served. Above: `api.py`. Below: `door.py`, `server/validation.py`, `session/registry.py` (imported when it is opened).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.doors.door import Arguments, Tell
from rlm_kernel_mcp.doors.loop_thread import REOPEN
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.server import requests, validation
from rlm_kernel_mcp.session.contexts.given import Added, Given, Options
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.reports import FinalReport, Guardrails, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.settings import TABLE, doubts, load_settings
from rlm_kernel_mcp.shielded import shielded

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)
CLOSE_S: Final = 15.0
"""More than the bounds of a registry's own close."""
NO_END_MS: Final = 10**10
"""A step ends by its own limits, which are a day at most."""

OpenRegistry = Callable[[], Awaitable["Registry"]]


class InProcess:
    """`Door`: sessions whose kernels are this process's children."""

    def __init__(self, env: Mapping[str, str] | None = None, *, open_registry: OpenRegistry | None = None) -> None:
        """`env`: settings (`RLM_...`) that go before those of the environment."""
        self._env = dict(env or {})
        self._open_registry = open_registry or self._opened
        self._registry: Registry | None = None

    @property
    def registry(self) -> Registry:
        """What it calls. Raises: InvalidInput: it is closed."""
        if self._registry is None:
            raise InvalidInput("The session is closed.", REOPEN)
        return self._registry

    async def open(self) -> None:
        if self._registry is None:
            self._registry = await self._open_registry()

    async def _opened(self) -> Registry:
        if unknown := sorted(self._env.keys() - {row.variable for row in TABLE}):
            known = ", ".join(row.variable for row in TABLE)
            raise InvalidInput(f"There is no setting {', '.join(unknown)}; the settings are: {known}.")
        try:
            working_dir = Path.cwd()
        except OSError as error:
            raise InvalidInput(f"The working directory is of no use: {error.strerror}.", "Change to another.") from None
        settings = load_settings(working_dir, os.environ, self._env)
        for doubt in doubts(self._env, settings):
            log.warning("%s", doubt)
        module = await asyncio.to_thread(importlib.import_module, "rlm_kernel_mcp.session.registry")
        registry: Registry = await module.Registry.open(settings)
        return registry

    async def init_context(self, arguments: Arguments) -> Opened:
        asked = validation.parse("rlm_init_context", requests.InitContext, arguments)
        limits = Guardrails(asked.max_steps, asked.max_runtime_ms, asked.budget_limit, asked.step_timeout_ms)
        return await self.registry.init_context(
            context_text=asked.context_text,
            context_paths=asked.context_paths,
            limits=limits,
            options=Options(asked.context_name, asked.exclude, asked.wait_ms),
        )

    async def add_context(self, arguments: Arguments) -> Added:
        asked = validation.parse("rlm_add_context", requests.AddContext, arguments)
        given, options = (
            Given(asked.text, asked.paths, asked.json_text),
            Options(asked.name, asked.exclude, asked.wait_ms),
        )
        return await self.registry.add_context(asked.session_id, given, options)

    async def run(self, arguments: Arguments, tell: Tell | None) -> StepReport:
        asked = validation.parse("rlm_run_repl", requests.RunRepl, arguments)
        return await self.registry.run_repl(
            asked.session_id,
            asked.code,
            timeout_ms=asked.timeout_ms,
            wait_ms=NO_END_MS,
            max_output_chars=None,
            tell=tell,
        )

    async def interrupt(self, session_id: str) -> None:
        await self.registry.interrupt(session_id)

    async def get(self, arguments: Arguments, limit: int, *, as_text: bool) -> VariableSlice:
        from rlm_kernel_mcp.session.kernels.variables import raw_variable  # it brings the kernels

        asked = validation.parse("rlm_get_var", requests.GetVar, arguments)
        return await self.registry.get_var(
            asked.session_id,
            asked.var_name,
            offset=asked.offset,
            limit=limit,
            read=partial(raw_variable, as_text=as_text),
        )

    async def finalize(self, arguments: Arguments) -> FinalReport:
        asked = validation.parse("rlm_finalize", requests.Finalize, arguments)
        return await self.registry.finalize(
            asked.session_id,
            final_text=asked.final_text,
            final_var_name=asked.final_var_name,
            quotes=[Quote(one) if isinstance(one, str) else Quote(**one) for one in asked.quotes],
            max_output_chars=None,
        )

    async def trace(self, arguments: Arguments) -> Sequence[TraceEvent]:
        from rlm_kernel_mcp.session.trace.reading import read_trace  # it brings sqlite3

        asked = validation.parse("rlm_get_trace", requests.GetTrace, arguments)
        registry = self.registry
        await registry.complete_trace(asked.session_id, asked.from_step, asked.to_step)
        full = asked.detail == "full"
        return await read_trace(registry.store, asked.session_id, asked.from_step, asked.to_step, full=full)

    async def let_go(self, session_id: str) -> None:
        if self._registry is not None:
            await self._registry.let_go(session_id)

    async def close(self) -> None:
        registry, self._registry = self._registry, None
        if registry is not None:
            await shielded(registry.close(), "the end of the sessions", within_s=CLOSE_S)
