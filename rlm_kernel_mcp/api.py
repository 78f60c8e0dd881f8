"""The Python front door: sessions for programs.

    with Session(context_paths=["logs/*.log"]) as session:
        session.run("errors = count('ERROR')", on_output=print)
        print(session.get("errors"))

Is: what a program calls (`docs/python.md`). Is not: where the calls go (`doors/`). Above: programs. Below:
`doors/async_session.py`, `doors/sessions.py`, `doors/through_host.py`, `doors/in_process.py`.

Texts are raw: as the kernel's code printed them, with nothing made safe to show. Whoever puts them on a terminal uses
`rlm_kernel_mcp.text.safe_text.safe_text`. Errors are those of `rlm_kernel_mcp.errors`, each with its `code`, `message`
and `next_step`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from rlm_kernel_mcp.doors.async_session import TEXT_CHARS_MAX, AsyncSession
from rlm_kernel_mcp.doors.door import Door
from rlm_kernel_mcp.doors.in_process import InProcess
from rlm_kernel_mcp.doors.options import ContextOptions, Output, SessionOptions, StrPath, Tell
from rlm_kernel_mcp.doors.sessions import Place
from rlm_kernel_mcp.doors.through_host import Host, ThroughHost
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.parked.reports import AskedItem
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport
from rlm_kernel_mcp.session.trace.reports import TraceEvent

__all__ = ["AskedItem", "AsyncSession", "Door", "InProcess", "Output", "Session", "Sessions", "ThroughHost"]

T = TypeVar("T")


class Sessions(Place):
    """A place for several sessions: they share its settings, its spare kernel and its record.

    It is used in a `with`, or closed; either ends the kernels of all its sessions. Their handles stay valid.
    """

    def open(self, **options: Unpack[SessionOptions]) -> Session:
        """One more session, as `Session`."""
        return Session(self, **options)


class Session:
    """One session: a locked-down kernel with the context in it.

    It is used in a `with`, or closed; either ends its kernel, unless another client of the host has opened it.
    `Session(session_id=...)` goes on with it, here or elsewhere. Its methods may be called from any thread, one
    step at a time.
    """

    def __init__(
        self,
        sessions: Sessions | None = None,
        *,
        host: Host = "auto",
        env: Mapping[str, str] | None = None,
        cluster: str | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        """Open it.

        Args:
            sessions: the place where it is to be; None: one of its own, of which the next three are told.
            host: as of `Sessions`.
            env: as of `Sessions`.
            cluster: as of `Sessions`.
            **options: `context_text`, `context_paths` or `session_id`, and the others of `SessionOptions`.

        Raises:
            ContextNotFound, ContextDenied, ContextTooLarge: of the context.
            SessionNotFound: of `session_id`.
            KernelStartFailed, SandboxUnavailable, InvalidInput.
        """
        if sessions is not None and (env is not None or cluster is not None):
            raise InvalidInput(
                f"{'cluster' if env is None else 'env'} goes with a place of the session's own; `sessions` has its "
                "settings already."
            )
        self._own = Sessions(host=host, env=env, cluster=cluster) if sessions is None else None
        self._sessions = sessions or self._own or Sessions()
        try:
            self._session = self._sessions.session(options)
            self._sessions.do(self._session.open())
            if self._own is not None:
                self._session.leave_to_its_place()
        except BaseException:
            if self._own is not None:
                self._own.close()
            raise

    @property
    def session_id(self) -> str:
        """Its handle, by which it can be opened again, here or by any server of the same `RLM_STATE_DIR`."""
        return self._session.session_id

    @property
    def opened(self) -> Opened | None:
        """What was said of the context, the limits, the names and the walls; None of an earlier session."""
        return self._session.opened

    def close(self) -> None:
        """End its kernel, unless another client has or uses it. Values and handle stay. Safe to call twice."""
        if self._own is not None:
            self._own.close()
        elif self._sessions.is_open:
            self._sessions.do(self._session.close())
        self._session.let_threads_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        code: str,
        *,
        timeout_ms: int | None = None,
        on_output: Tell | None = None,
        answer: Callable[[AskedItem], str] | None = None,
    ) -> StepReport:
        """Run a step, and wait for its end. Ctrl-C meanwhile interrupts it, and is raised once it has ended.

        Args:
            code: Python, 1 to 200,000 characters; the value of its last expression is the report's `result`.
            timeout_ms: milliseconds of execution after which it is interrupted; None: the session's `step_timeout_ms`.
            on_output: is told each piece of its output as it comes, in this thread; in all, the report's `stdout` and
                `stderr`. What it raises interrupts the step, and is raised here.
            answer: gives the answer to each question that the code asks (`llm_query`), unless `RLM_SUBCALL_BACKEND`
                names somebody else, or nobody; called in other threads, for several at once. Without it they are
                refused at once. What it raises interrupts the step, and is raised here.

        Returns:
            What became of it. An exception that the code raised is part of this (`status`, `error`).

        Raises:
            SessionBusy: another step is running.
            SessionFinalized, SessionNotFound, KernelDied, InvalidInput.
        """

        async def in_thread(question: AskedItem) -> str:
            assert answer is not None
            return await asyncio.to_thread(answer, question)

        asked = None if answer is None else in_thread
        if on_output is None:
            return self._sessions.do(self._session.run(code, timeout_ms=timeout_ms, answer=asked))
        return self._sessions.do_telling(
            lambda tell: self._session.run(code, timeout_ms=timeout_ms, on_output=tell, answer=asked), on_output
        )

    def interrupt(self) -> None:
        """Interrupt the running step, from another thread, and wait for its end; nothing happens where none runs."""
        self._sessions.do(self._session.interrupt())

    @overload
    def get(self, name: str) -> Any: ...

    @overload
    def get(self, name: str, kind: type[T]) -> T: ...

    def get(self, name: str, kind: type[Any] = object) -> Any:
        """The value of a variable that is JSON without loss, also while a step runs; it is not a step.

        Args:
            name: of the variable.
            kind: what it has to be: `str`, `int`, `float`, `bool`, `list`, `dict`.

        Raises:
            VariableNotFound: the message has the nearest names.
            InvalidInput: it is of another kind, is no JSON, or has more than 1,000,000 characters as JSON.
            SessionFinalized, SessionNotFound, KernelDied.
        """
        return self._sessions.do(self._session.get(name, kind))

    def get_text(self, name: str, *, offset: int = 0, limit: int = TEXT_CHARS_MAX) -> str:
        """The text of any variable: of a `str` itself, of another value as a reply shows it, from `offset` on.

        `limit`: characters, 1 to 4,000,000. Raises: as `get`.
        """
        return self._sessions.do(self._session.get_text(name, offset=offset, limit=limit))

    def put(self, name: str, value: Any) -> None:
        """Bind a JSON value to a name, by a step of its own: it counts as one, and the trace has it.

        Raises:
            InvalidInput: it is no JSON, has more than 200,000 characters as code, or could not be bound.
            SessionBusy, SessionFinalized, SessionNotFound, KernelDied.
        """
        self._sessions.do(self._session.put(name, value))

    def add_context(
        self,
        name: str,
        *,
        text: str | None = None,
        paths: StrPath | Sequence[StrPath] | None = None,
        json_text: str | None = None,
        **options: Unpack[ContextOptions],
    ) -> Added:
        """Load a further text under a new name, between two steps: exactly one of `text`, `paths` and `json_text`.

        Raises:
            ContextNotFound, ContextDenied, ContextTooLarge, SessionBusy, SessionFinalized, SessionNotFound, KernelDied.
            InvalidInput: the name is taken or no identifier; not exactly one source.
        """
        return self._sessions.do(
            self._session.add_context(name, text=text, paths=paths, json_text=json_text, **options)
        )

    def finalize(
        self,
        *,
        final_text: str | None = None,
        final_var_name: str | None = None,
        quotes: Sequence[str | Mapping[str, str]] = (),
    ) -> FinalReport:
        """Give the final answer, a text or a variable, and end the kernel. The report has it whole.

        `quotes`: passages that it quotes, each a text or `{"text", "doc"}`; they and its marks (`[c1]`) are checked.

        Raises:
            CitationMismatch: one is not in the sources (`error.citations`); the session goes on.
            SessionFinalized: there is another answer already.
            SessionBusy, VariableNotFound, SessionNotFound, KernelDied, ContextDenied, InvalidInput.
        """
        return self._sessions.do(
            self._session.finalize(final_text=final_text, final_var_name=final_var_name, quotes=quotes)
        )

    def trace(
        self, *, from_step: int | None = None, to_step: int | None = None, full: bool = False
    ) -> Sequence[TraceEvent]:
        """What was done, also after the final answer. `full`: with code, output, result and error of each step.

        Raises: SessionNotFound, InvalidInput.
        """
        return self._sessions.do(self._session.trace(from_step=from_step, to_step=to_step, full=full))
