"""The calls of a router's clients on a node's registry: which verbs there are, and what each gives.

Is: a verb and its arguments to an answer as it crosses. Is not: who may ask, or whether this node drives the session
(`host.py`), nor what a call does (`doors/registry_calls.py`, `server/tools.py`). Above: `host.py`. Below: those,
`messages.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from rlm_kernel_mcp.cluster.node.messages import Answer, Asked
from rlm_kernel_mcp.doors.registry_calls import RegistryCalls
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.asked import notebook_of_session
from rlm_kernel_mcp.server.tools import BY_NAME, answer
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, SessionList, StepReport, VariableSlice
from rlm_kernel_mcp.session.trace.reports import TraceEvent, TracePage

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.registry import Registry

Arguments = Mapping[str, Any]
TOOL: Final = "tool:"
DOOR: Final = "door:"
TEXT_CHARS_MAX: Final = 4_000_000
"""Of a variable, in one answer."""
OPENS: Final = frozenset({"tool:rlm_init_context", "door:init_context"})
"""What opens a session."""
RUNS: Final = frozenset({"tool:rlm_run_repl", "door:run"})
"""What runs a step, which is never run again by itself."""
OF_THE_RECORD: Final = frozenset(
    {"tool:rlm_get_trace", "door:trace", "door:trace_page", "door:answer_part", "door:notebook"}
)
"""What reads a session's record here, and no more: the registry lets such an answer go without a look at the epoch."""


class NodeCalls(RegistryCalls):
    """One call of a client."""

    def __init__(self, registry: Registry, caller: Caller) -> None:
        self._registry, self.caller = registry, caller

    async def registry(self, _session_id: str | None = None) -> Registry:
        return self._registry

    async def done(self, verb: str, asked: Asked) -> str:
        """The answer to the call. Raises: InvalidInput: there is no such verb; and what the call raises."""
        if verb.startswith(TOOL) and (row := BY_NAME.get(verb.removeprefix(TOOL))) is not None:
            result = await answer(row, self.registry, self.caller, asked.arguments)
            return Answer.of_json(result.model_dump_json(by_alias=True, exclude_none=True)).text
        if verb.startswith(DOOR) and (call := CALLS.get(verb.removeprefix(DOOR))) is not None:
            kind, work = call
            return Answer.of_value(kind, await work(self, asked)).text
        raise InvalidInput(f"A node has no verb {verb[:80]!r}.")


def session_id_of(asked: Asked) -> str:
    """Raises: InvalidInput: it is no handle."""
    session_id = asked.arguments.get("session_id")
    if not isinstance(session_id, str):
        raise InvalidInput("session_id must be text.")
    return session_id


def _number(given: Arguments, name: str, default: int) -> int:
    number = given.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 1 << 62:
        raise InvalidInput(f"{name} must be a whole number of at least 0.")
    return number


async def _init_context(calls: NodeCalls, asked: Asked) -> Opened:
    return await calls.init_context(asked.arguments)


async def _add_context(calls: NodeCalls, asked: Asked) -> Added:
    return await calls.add_context(asked.arguments)


async def _run(calls: NodeCalls, asked: Asked) -> StepReport:
    return await calls.run(asked.arguments, None)


async def _answer_questions(calls: NodeCalls, asked: Asked) -> StepReport:
    return await calls.answer_questions(asked.arguments)


async def _get(calls: NodeCalls, asked: Asked) -> VariableSlice:
    limit = min(_number(asked.more, "limit", TEXT_CHARS_MAX), TEXT_CHARS_MAX)
    return await calls.get(asked.arguments, limit, as_text=asked.more.get("as_text") is True)


async def _finalize(calls: NodeCalls, asked: Asked) -> FinalReport:
    return await calls.finalize(asked.arguments)


async def _answer_part(calls: NodeCalls, asked: Asked) -> str:
    return await calls.answer_part(session_id_of(asked), _number(asked.more, "offset", 0))


async def _trace(calls: NodeCalls, asked: Asked) -> tuple[list[TraceEvent], int | None]:
    return await calls.trace_page(asked.arguments, _number(asked.more, "offset", 0))


async def _trace_page(calls: NodeCalls, asked: Asked) -> TracePage:
    registry, given = await calls.registry(), asked.arguments
    return await registry.get_trace(
        session_id_of(asked),
        from_step=given.get("from_step"),
        to_step=given.get("to_step"),
        detail=given["detail"],
        max_output_chars=given["max_output_chars"],
        offset=given["offset"],
    )


async def _list_sessions(calls: NodeCalls, asked: Asked) -> SessionList:
    given = asked.arguments
    registry = await calls.registry()
    return await registry.list_sessions(
        state=given["state"], limit=given["limit"], offset=given["offset"], caller=calls.caller
    )


async def _notebook(calls: NodeCalls, asked: Asked) -> tuple[str, int]:
    return await notebook_of_session(await calls.registry(), session_id_of(asked))


async def _interrupt(calls: NodeCalls, asked: Asked) -> None:
    await calls.interrupt(session_id_of(asked))


async def _let_go(calls: NodeCalls, asked: Asked) -> None:
    await calls.let_go(session_id_of(asked))


Work = Callable[[NodeCalls, Asked], Awaitable[Any]]
CALLS: Final[Mapping[str, tuple[Any, Work]]] = {
    "init_context": (Opened, _init_context),
    "add_context": (Added, _add_context),
    "run": (StepReport, _run),
    "answer_questions": (StepReport, _answer_questions),
    "interrupt": (None, _interrupt),
    "get": (VariableSlice, _get),
    "finalize": (FinalReport, _finalize),
    "answer_part": (str, _answer_part),
    "trace": (tuple[list[TraceEvent], int | None], _trace),
    "trace_page": (TracePage, _trace_page),
    "list_sessions": (SessionList, _list_sessions),
    "notebook": (tuple[str, int], _notebook),
    "let_go": (None, _let_go),
}
"""The methods of `Door` that a node answers, and what routers ask beside them: what each gives."""
