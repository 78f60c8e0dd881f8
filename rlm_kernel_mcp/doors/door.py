"""Where the calls of a Python program go: the one class that has to be written for another place.

Is: the contract between `api.py` and whoever has the sessions, in plain data that could travel. Is not: a place
(`in_process.py` is one), or what a program calls (`api.py`). Above: `api.py`. Below: the reports of `session/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from rlm_kernel_mcp.errors import SessionNotFound
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.trace.reports import TraceEvent

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.functions.callee import Callee

Stream = Literal["stdout", "stderr"]
Tell = Callable[[Stream, str], None]
"""Is told of each piece of output as it comes. It neither waits nor raises."""
Arguments = Mapping[str, Any]
"""Of a tool of the contract, by name."""
ANSWERS: Final = "answers"
"""One more of `run`: whether the program answers what the step's code asks; else nobody does."""


class Door(Protocol):
    """Where calls go. Every method belongs to one event loop, and raises the errors of `errors.py` as they are.

    `arguments` are checked by whoever answers, who refuses them as `InvalidInput`. All texts are raw.
    """

    async def open(self) -> None:
        """Make it ready for calls. Raises: KernelStartFailed, InvalidInput of a setting."""

    async def init_context(self, arguments: Arguments) -> Opened:
        """Open a session (`rlm_init_context`)."""

    async def add_context(self, arguments: Arguments) -> Added:
        """Load a further text (`rlm_add_context`)."""

    async def run(self, arguments: Arguments, tell: Tell | None, callee: Callee | None = None) -> StepReport:
        """Run a step to its end (`rlm_run_repl`, however long it takes). `callee`: whose functions it may call."""

    async def answer_questions(self, arguments: Arguments) -> StepReport:
        """Answer what the running step asks (`rlm_answer`); its questions are whole and raw."""

    async def interrupt(self, session_id: str) -> None:
        """Stop the running step, if one runs, and wait for its end (`rlm_interrupt`)."""

    async def get(self, arguments: Arguments, limit: int, *, as_text: bool) -> VariableSlice:
        """Read a variable (`rlm_get_var`), `limit` characters at most; `as_text`: never as a JSON value."""

    async def finalize(self, arguments: Arguments) -> FinalReport:
        """Give the final answer (`rlm_finalize`); the report has it whole, or of a long one the beginning."""

    async def answer_part(self, session_id: str, offset: int) -> str:
        """Some of a final answer that is given, from a character on; empty behind the end."""

    async def trace(self, arguments: Arguments) -> Sequence[TraceEvent]:
        """The events (`rlm_get_trace`), all of them."""

    async def let_go(self, session_id: str) -> None:
        """End a session's kernel, if it is here. Its values are kept, and its handle stays valid."""

    async def close(self) -> None:
        """End what `open` began, within bounds. Safe to call twice."""


async def whole_answer(door: Door, arguments: Arguments) -> FinalReport:
    """Give the final answer; the report has all of it. Only here, where it is wanted, it is in one piece."""
    report = await door.finalize(arguments)
    parts, chars = [report.final_answer], len(report.final_answer)
    while chars < report.final_answer_chars:
        part = await door.answer_part(arguments["session_id"], chars)
        if not part:
            raise SessionNotFound(f"Of the final answer no more than {chars:,} characters are in the record.")
        parts.append(part)
        chars += len(part)
    return report if len(parts) == 1 else replace(report, final_answer="".join(parts), cut_chars=0)
