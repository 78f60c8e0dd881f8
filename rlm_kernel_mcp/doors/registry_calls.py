"""A program's calls to registries of this process, checked as the tools check them, and answered raw.

Is: what becomes of each call once it is where the sessions are, be that the program's own process or a host. Is not:
which registry that is (`in_process.py`; a host's connection). Above: those. Below: `door.py`, `server/validation.py`,
`session/registry.py` (which whoever has one has imported).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.doors.door import ANSWERS, Arguments, Tell
from rlm_kernel_mcp.server import requests, validation
from rlm_kernel_mcp.server.requests import handed_in, offered_in
from rlm_kernel_mcp.session.contexts.given import Added, Given, Options
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.parked.reports import at_once
from rlm_kernel_mcp.session.reports import FinalReport, Guardrails, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.trace.reports import TraceEvent

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.callers.caller import Caller
    from rlm_kernel_mcp.session.functions.callee import Callee
    from rlm_kernel_mcp.session.registry import Registry

ANY_CALLS: Final = 1 << 62
"""Whoever uses a session of a program in its own process is that program."""
NO_END_MS: Final = 10**10
"""A step ends by its own limits, which are a day at most."""


class RegistryCalls:
    """The calls of `Door`, but for its beginning and its end."""

    caller: Caller | None = None
    """Who calls; None: somebody with the settings of the registry."""

    async def registry(self, session_id: str | None = None) -> Registry:
        """The one that opens sessions, or that of a session. Raises: InvalidInput: it is closed; as it is opened."""
        raise NotImplementedError

    async def init_context(self, arguments: Arguments) -> Opened:
        asked = validation.parse("rlm_init_context", requests.InitContext, arguments)
        limits = Guardrails(
            asked.max_steps,
            asked.max_runtime_ms,
            asked.budget_limit,
            asked.step_timeout_ms,
            asked.max_subcalls,
            asked.subcall_tokens_limit,
        )
        return await (await self.registry()).init_context(
            context_text=asked.context_text,
            context_paths=asked.context_paths,
            limits=limits,
            caller=self.caller,
            options=Options(
                asked.context_name,
                asked.exclude,
                asked.wait_ms,
                functions=offered_in(asked),
                question=asked.question,
            ),
        )

    async def add_context(self, arguments: Arguments) -> Added:
        asked = validation.parse("rlm_add_context", requests.AddContext, arguments)
        given = Given(asked.text, asked.paths, asked.json_text)
        options = Options(asked.name, asked.exclude, asked.wait_ms)
        return await (await self.registry(asked.session_id)).add_context(asked.session_id, given, options, self.caller)

    async def run(self, arguments: Arguments, tell: Tell | None, callee: Callee | None = None) -> StepReport:
        answers = bool(arguments.get(ANSWERS))
        own = {name: value for name, value in arguments.items() if name != ANSWERS}
        asked = validation.parse("rlm_run_repl", requests.RunRepl, own)
        return await (await self.registry(asked.session_id)).run_repl(
            asked.session_id,
            asked.code,
            timeout_ms=asked.timeout_ms,
            wait_ms=NO_END_MS,
            max_output_chars=None,
            tell=tell,
            callee=callee,
            caller=self.caller,
            answers=answers,
        )

    async def answer_questions(self, arguments: Arguments, turn: Callable[[], Awaitable[None]] = at_once) -> StepReport:
        """`turn`: of `Handed`."""
        asked = validation.parse("rlm_answer", requests.Answer, arguments)
        handed = replace(handed_in(asked), max_output_chars=None, turn=turn)
        return await (await self.registry(asked.session_id)).answer(asked.session_id, handed, self.caller)

    async def interrupt(self, session_id: str) -> None:
        await (await self.registry(session_id)).interrupt(session_id, self.caller)

    async def get(self, arguments: Arguments, limit: int, *, as_text: bool) -> VariableSlice:
        from rlm_kernel_mcp.session.kernels.variables import raw_variable  # it brings the kernels

        asked = validation.parse("rlm_get_var", requests.GetVar, arguments)
        return await (await self.registry(asked.session_id)).get_var(
            asked.session_id,
            asked.var_name,
            offset=asked.offset,
            limit=limit,
            read=partial(raw_variable, as_text=as_text),
            caller=self.caller,
        )

    async def finalize(self, arguments: Arguments) -> FinalReport:
        asked = validation.parse("rlm_finalize", requests.Finalize, arguments)
        return await (await self.registry(asked.session_id)).finalize(
            asked.session_id,
            final_text=asked.final_text,
            final_var_name=asked.final_var_name,
            quotes=[Quote(one) if isinstance(one, str) else Quote(**one) for one in asked.quotes],
            max_output_chars=None,
            caller=self.caller,
        )

    async def answer_part(self, session_id: str, offset: int) -> str:
        from rlm_kernel_mcp.session.trace.reading import read_answer  # it brings sqlite3

        registry = await self.registry(session_id)
        await registry.complete_trace(session_id, None, None)
        return await read_answer(registry.store, session_id, offset)

    async def trace(self, arguments: Arguments) -> Sequence[TraceEvent]:
        events = list[TraceEvent]()
        offset: int | None = 0
        while offset is not None:
            page, offset = await self.trace_page(arguments, offset)
            events += page
        return events

    async def trace_page(self, arguments: Arguments, offset: int) -> tuple[list[TraceEvent], int | None]:
        """The events from that place on, as far as a page goes, and the place at which the rest begins."""
        from rlm_kernel_mcp.session.trace.reading import read_trace  # it brings sqlite3

        asked = validation.parse("rlm_get_trace", requests.GetTrace, arguments)
        registry = await self.registry(asked.session_id)
        await registry.complete_trace(asked.session_id, asked.from_step, asked.to_step)
        steps, full = (asked.from_step, asked.to_step), asked.detail == "full"
        return await read_trace(registry.store, asked.session_id, steps, full=full, offset=offset)

    async def let_go(self, session_id: str) -> None:
        await (await self.registry(session_id)).let_go(session_id, self.caller, ANY_CALLS, runs=True)
