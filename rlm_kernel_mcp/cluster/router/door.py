"""A program's sessions in a cluster, on whichever nodes they are.

Is: `Door`, by a router of the program's own process; its paths are read here, by its own rights. Is not: where a call
goes (`router.py`), nor how the cluster is joined. Above: the entrance of a cluster. Below: `way.py`, `paths.py`,
`doors/program.py`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rlm_kernel_mcp.cluster.node.messages import Asked, Calling
from rlm_kernel_mcp.cluster.router.paths import NO_FUNCTIONS, NO_FUNCTIONS_NEXT, adding, opening
from rlm_kernel_mcp.cluster.router.way import Way
from rlm_kernel_mcp.doors.door import Arguments, Tell
from rlm_kernel_mcp.doors.loop_thread import REOPEN
from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.errors import InvalidInput, RlmError
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.shielded import made_in_thread, shielded

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.functions.callee import Callee

log = logging.getLogger(__name__)

CLOSE_S: Final = 15.0
OpenWay = Callable[[Program], Awaitable[Way]]


class ClusterDoor:
    """`Door`: sessions on the nodes of a cluster."""

    def __init__(self, env: Mapping[str, str] | None, open_way: OpenWay) -> None:
        """`env`: settings (`RLM_...`) that go before those of the environment. `open_way`: joins the cluster."""
        self._env, self._open_way = dict(env or {}), open_way
        self._program: Program | None = None
        self._caller: Caller | None = None
        self._way: Way | None = None
        self._used = dict[str, None]()
        """Sessions whose kernels end with this."""
        self._calling = Calling(f"program {secrets.token_hex(8)}", "Python")
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        async with self._turn:
            if self._way is None:
                program = Program.of(self._env)
                try:
                    self._caller = await made_in_thread(lambda: _opened(program), Caller.close)
                    self._way = await self._open_way(program)
                except BaseException:
                    self._leave(program)
                    raise
                self._program = program

    async def init_context(self, arguments: Arguments) -> Opened:
        way, caller = self._opened()
        opened: Opened = await self._ask("init_context", await opening(arguments, caller, way.store), Opened)
        self._used[opened.session_id] = None
        return opened

    async def add_context(self, arguments: Arguments) -> Added:
        way, caller = self._opened()
        added: Added = await self._ask("add_context", await adding(arguments, caller, way.store), Added)
        return added

    async def run(self, arguments: Arguments, tell: Tell | None, callee: Callee | None = None) -> StepReport:
        """What a step prints is told at its end: nothing comes back before its answer does."""
        if callee is not None:
            raise InvalidInput(NO_FUNCTIONS, NO_FUNCTIONS_NEXT)
        report: StepReport = await self._ask("run", Asked(arguments), StepReport)
        if tell is not None:
            for stream, text in (("stdout", report.stdout), ("stderr", report.stderr)):
                if text:
                    tell(stream, text)  # type: ignore[arg-type]
        return report

    async def answer_questions(self, arguments: Arguments) -> StepReport:
        report: StepReport = await self._ask("answer_questions", Asked(arguments), StepReport)
        return report

    async def interrupt(self, session_id: str) -> None:
        await self._ask("interrupt", Asked({"session_id": session_id}), None)

    async def get(self, arguments: Arguments, limit: int, *, as_text: bool) -> VariableSlice:
        more = {"limit": limit, "as_text": as_text}
        part: VariableSlice = await self._ask("get", Asked(arguments, more), VariableSlice)
        return part

    async def finalize(self, arguments: Arguments) -> FinalReport:
        report: FinalReport = await self._ask("finalize", Asked(arguments), FinalReport)
        return report

    async def answer_part(self, session_id: str, offset: int) -> str:
        part: str = await self._ask("answer_part", Asked({"session_id": session_id}, {"offset": offset}), str)
        return part

    async def trace(self, arguments: Arguments) -> Sequence[TraceEvent]:
        events = list[TraceEvent]()
        offset: int | None = 0
        while offset is not None:
            page, offset = await self._ask(
                "trace", Asked(arguments, {"offset": offset}), tuple[list[TraceEvent], int | None]
            )
            events += page
        return events

    async def let_go(self, session_id: str) -> None:
        self._used.pop(session_id, None)
        if self._way is not None:
            await self._ask("let_go", Asked({"session_id": session_id}), None)

    async def close(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            await shielded(self._close(program), "the end of the sessions in a cluster", within_s=CLOSE_S)

    async def _close(self, program: Program) -> None:
        try:
            ends = [self.let_go(session_id) for session_id in list(self._used)]
            for problem in await asyncio.gather(*ends, return_exceptions=True):
                if isinstance(problem, RlmError):  # its kernel ends when it has been idle for long enough
                    log.warning("a session in the cluster was not let go: %s", problem.message)
                elif isinstance(problem, BaseException):
                    raise problem
        finally:
            way, self._way = self._way, None
            self._leave(program)
            if way is not None:
                await shielded(way.close(), "the end of a way into a cluster", within_s=CLOSE_S)

    def _leave(self, program: Program) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            caller.close()
        program.close()

    def _opened(self) -> tuple[Way, Caller]:
        if self._way is None or self._caller is None:
            raise InvalidInput("The session is closed.", REOPEN)
        return self._way, self._caller

    async def _ask(self, method: str, asked: Asked, kind: Any) -> Any:
        """What a call gives, as a value of that kind. Raises: as the call does."""
        way, _ = self._opened()
        try:
            answer = await way.router.call(f"door:{method}", asked, self._calling)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"An argument of {method} cannot be said to a node: {error}.") from None
        session_id = asked.arguments.get("session_id")
        if method in ("run", "get", "finalize") and isinstance(session_id, str):
            self._used[session_id] = None
        return None if kind is None else answer.value(kind)


def _opened(program: Program) -> Caller:
    program.open_directories()
    return program.caller()
