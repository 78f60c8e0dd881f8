"""The ten tools: a table in fixed order, one short function each, and the one edge where exceptions become answers.

Is: the way from a validated request to the session and back. Is not: validation (`validation.py`), shaping
(`responses.py`), or any logic of a step (`session/`).
Above: `mcp_server.py`. Below: requests, validation, responses, the registry.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mcp.types import CallToolResult, Tool, ToolAnnotations

from rlm_kernel_mcp.errors import InternalError, RlmError
from rlm_kernel_mcp.server import descriptions, requests, responses, validation
from rlm_kernel_mcp.server.argument_types import ResponseFormat
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.callers.elsewhere import answered_elsewhere
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.reports import Guardrails
from rlm_kernel_mcp.telemetry.spans import Request

if TYPE_CHECKING:
    # Only the type: the registry brings jupyter_client, and the server answers `initialize` before that.
    from rlm_kernel_mcp.session.registry import Registry

log = logging.getLogger(__name__)

GetRegistry = Callable[[str | None], Awaitable["Registry"]]
"""The registry that answers a call; of one with a handle, the handle says which."""


@dataclass(slots=True)
class Waiting:
    """What a call waits for, for whoever tells its client; and how it came."""

    look: Callable[[], tuple[int, int] | None] = lambda: None
    """Bytes of a context that are loaded, and bytes in all; None where it waits for something else."""
    request: Request = field(default_factory=Request)
    """The call as it came, for the span of it."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a tool is called with beside its request."""

    registry: Registry
    caller: Caller | None
    """The connection; None: the registry's own."""
    waiting: Waiting


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool: what it takes, what does it, what the model is told."""

    name: str
    request: type[requests.Request]
    call: Callable[[Call, Any], Awaitable[CallToolResult]]
    description: str
    read_only: bool = False
    runs_code: bool = False

    def listed(self, *, asks_models: bool = False, is_answered: bool = True) -> Tool:
        """The tool as `tools/list` shows it. No outputSchema: with one, clients insist on structured results.

        `asks_models`: the user has code's questions go to an endpoint. All else stays here: the kernel is confined.
        `is_answered`: somebody answers them; where nobody does, nothing is told of them.
        """
        hints = ToolAnnotations(
            read_only_hint=self.read_only, destructive_hint=False, open_world_hint=asks_models and self.runs_code
        )
        schema = validation.input_schema(self.request)
        told = self.description if is_answered else descriptions.where_nobody_answers(self.description)
        told = descriptions.where_an_endpoint_answers(told) if asks_models else told
        return Tool(name=self.name, description=told, input_schema=schema, annotations=hints)


async def init_context(call: Call, request: requests.InitContext) -> CallToolResult:
    limits = Guardrails(
        max_steps=request.max_steps,
        max_runtime_ms=request.max_runtime_ms,
        budget_limit=request.budget_limit,
        step_timeout_ms=request.step_timeout_ms,
        max_subcalls=request.max_subcalls,
        subcall_tokens_limit=request.subcall_tokens_limit,
    )
    functions = requests.offered_in(request)
    name, question = request.context_name, request.question
    options = Options(name, request.exclude, request.wait_ms, functions=functions, question=question)
    progress = options.progress
    call.waiting.look = lambda: (progress.loaded_bytes, progress.bytes) if progress.bytes else None
    report = await call.registry.init_context(
        context_text=request.context_text,
        context_paths=request.context_paths,
        limits=limits,
        caller=call.caller,
        options=options,
    )
    return responses.opened(report, request.response_format)


async def run_repl(call: Call, request: requests.RunRepl) -> CallToolResult:
    report = await call.registry.run_repl(
        request.session_id,
        request.code,
        timeout_ms=request.timeout_ms,
        wait_ms=request.wait_ms,
        max_output_chars=request.max_output_chars,
        caller=call.caller,
    )
    return responses.step(report, request.response_format)


async def await_step(call: Call, request: requests.AwaitStep) -> CallToolResult:
    report = await call.registry.await_step(
        request.session_id,
        request.step_index,
        wait_ms=request.wait_ms,
        max_output_chars=request.max_output_chars,
        caller=call.caller,
    )
    return responses.step(report, request.response_format)


async def interrupt(call: Call, request: requests.Interrupt) -> CallToolResult:
    return responses.step(await call.registry.interrupt(request.session_id, call.caller), request.response_format)


async def get_var(call: Call, request: requests.GetVar) -> CallToolResult:
    part = await call.registry.get_var(
        request.session_id, request.var_name, offset=request.offset, limit=request.limit, caller=call.caller
    )
    return responses.variable(part, request.response_format)


async def finalize(call: Call, request: requests.Finalize) -> CallToolResult:
    report = await call.registry.finalize(
        request.session_id,
        final_text=request.final_text,
        final_var_name=request.final_var_name,
        quotes=[Quote(one) if isinstance(one, str) else Quote(**one) for one in request.quotes],
        max_output_chars=request.max_output_chars,
        caller=call.caller,
    )
    return responses.final(report, request.response_format, request.max_output_chars)


async def get_trace(call: Call, request: requests.GetTrace) -> CallToolResult:
    page = await call.registry.get_trace(
        request.session_id,
        from_step=request.from_step,
        to_step=request.to_step,
        detail=request.detail,
        max_output_chars=request.max_output_chars,
        offset=request.offset,
    )
    return responses.trace(page, request.response_format, request.detail, request.max_output_chars)


async def list_sessions(call: Call, request: requests.ListSessions) -> CallToolResult:
    found = await call.registry.list_sessions(
        state=request.state, limit=request.limit, offset=request.offset, caller=call.caller
    )
    return responses.sessions(found, request.response_format)


async def add_context(call: Call, request: requests.AddContext) -> CallToolResult:
    given = Given(request.text, request.paths, request.json_text)
    options = Options(request.name, request.exclude, request.wait_ms)
    report = await call.registry.add_context(request.session_id, given, options, call.caller)
    return responses.added(report, request.response_format)


async def answer_questions(call: Call, request: requests.Answer) -> CallToolResult:
    with answered_elsewhere():
        report = await call.registry.answer(request.session_id, requests.handed_in(request), call.caller)
    return responses.step(report, request.response_format)


TABLE: Final = (
    ToolRow("rlm_init_context", requests.InitContext, init_context, descriptions.INIT_CONTEXT),
    ToolRow("rlm_run_repl", requests.RunRepl, run_repl, descriptions.RUN_REPL, runs_code=True),
    ToolRow("rlm_await_step", requests.AwaitStep, await_step, descriptions.AWAIT_STEP),
    ToolRow("rlm_interrupt", requests.Interrupt, interrupt, descriptions.INTERRUPT),
    ToolRow("rlm_get_var", requests.GetVar, get_var, descriptions.GET_VAR, read_only=True),
    ToolRow("rlm_finalize", requests.Finalize, finalize, descriptions.FINALIZE),
    ToolRow("rlm_get_trace", requests.GetTrace, get_trace, descriptions.GET_TRACE, read_only=True),
    ToolRow("rlm_list_sessions", requests.ListSessions, list_sessions, descriptions.LIST_SESSIONS, read_only=True),
    ToolRow("rlm_add_context", requests.AddContext, add_context, descriptions.ADD_CONTEXT),
    ToolRow("rlm_answer", requests.Answer, answer_questions, descriptions.ANSWER, runs_code=True),
)

BY_NAME: Final = {row.name: row for row in TABLE}


async def here(
    row: ToolRow,
    get_registry: GetRegistry,
    caller: Caller | None,
    request: requests.Request,
    _arguments: Mapping[str, Any],
    waiting: Waiting,
) -> CallToolResult:
    """What a tool does where this process has the sessions."""
    session_id: str | None = getattr(request, "session_id", None)
    call = Call(await get_registry(session_id), caller, waiting)
    if session_id is not None:
        call.waiting.look = lambda: call.registry.load_progress(session_id)
    with call.registry.spans.called(row.name, call.waiting.request):
        return await row.call(call, request)


Doing = Callable[
    [ToolRow, GetRegistry, "Caller | None", requests.Request, Mapping[str, Any], Waiting], Awaitable[CallToolResult]
]
"""What does a tool: `here`, or what has it done elsewhere, which may need its arguments as they came."""


async def answer(
    row: ToolRow,
    get_registry: GetRegistry,
    caller: Caller | None,
    arguments: Mapping[str, Any],
    waiting: Waiting | None = None,
    do: Doing = here,
) -> CallToolResult:
    """One call from raw arguments to its answer. The edge: every exception but cancellation becomes the envelope."""
    # Read before validation, so that even an invalid request is refused in the form that it asked for.
    form: ResponseFormat = "markdown" if arguments.get("response_format") == "markdown" else "json"
    try:
        request = validation.parse(row.name, row.request, arguments)
        return await do(row, get_registry, caller, request, arguments, waiting or Waiting())
    except RlmError as error:
        log.info("%s refused: %s", row.name, error.code)
        return responses.failure(error, form)
    except Exception:
        log.exception("%s failed", row.name)
        fault = InternalError(f"{row.name} failed inside the server; its log on stderr has the details.")
        return responses.failure(fault, form)
