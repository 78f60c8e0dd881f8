"""A session as a program with an event loop has it.

Is: the calls, their defaults, and what a program is given back. Is not: a thread (`loop_thread.py`), nor where the
calls go (`door.py`). Above: `api.py`, which has the same for programs without a loop. Below: `door.py`,
`options.py`, `answering.py`, `through_host.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import keyword
import os
import warnings
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, overload

from rlm_kernel_mcp.doors.answering import Answer, answered
from rlm_kernel_mcp.doors.calling.functions import Functions
from rlm_kernel_mcp.doors.door import ANSWERS, Door, Stream, whole_answer
from rlm_kernel_mcp.doors.options import ContextOptions, Output, SessionOptions, StrPath, Tell, require_known
from rlm_kernel_mcp.doors.through_host import Host, door_of
from rlm_kernel_mcp.errors import HostEnded, InvalidInput
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.shielded import shielded

T = TypeVar("T")

VALUE_CHARS_MAX: Final = 1_000_000
"""Characters of a value that `get` gives, as JSON."""
TEXT_CHARS_MAX: Final = 4_000_000
"""Characters of a slice that `get_text` gives."""
PUT_CHARS_MAX: Final = 200_000
INTERRUPT_S: Final = 35.0
LOOK_S: Final = 0.2
NO_LIMITS: Final = {"max_steps": 1_000_000, "max_runtime_ms": 86_400_000, "budget_limit": 1_000_000_000}
"""The guardrails bound what a model may use up; a program sets them where it lets one write the code."""


class AsyncSession:
    """One session: a locked-down kernel with the context in it. It belongs to the event loop that enters it."""

    def __init__(
        self,
        *,
        host: Host = "auto",
        env: Mapping[str, str] | None = None,
        door: Door | None = None,
        cluster: str | None = None,
        **options: Unpack[SessionOptions],
    ) -> None:
        """Nothing begins before `async with` or `open`.

        Args:
            host: `auto`, `required` or `off`, as of `Sessions`.
            env: settings by their names (`RLM_...`), before those of the environment.
            door: where its calls go, if it shares one with others; who made that closes it.
            cluster: as of `Sessions`.
            **options: as `SessionOptions`.
        """
        if door is not None and env is not None:
            raise InvalidInput("env goes with a session's own place; that of `door` has its settings already.")
        require_known(options)
        self._door = door or door_of(host, env, cluster)
        self._owns_door = door is None
        functions = options.pop("host_functions", None)
        self._functions = Functions(functions) if functions else None
        self._options = options
        self._session_id = options.get("session_id", "")
        self._finalizer: weakref.finalize[..., AsyncSession] | None = None
        self.opened: Opened | None = None
        """What was said of the context, the limits, the names and the walls; None of an earlier session."""

    @property
    def session_id(self) -> str:
        """Its handle, by which it can be opened again, here or by any server of the same `RLM_STATE_DIR`."""
        return self._session_id

    async def open(self) -> None:
        """Open it. Raises: as `Session`."""
        options: dict[str, Any] = {**self._options}
        by_handle = options.pop("session_id", None)
        if by_handle is not None and options:
            raise InvalidInput(f"session_id goes without {', '.join(options)}: an earlier session has them already.")
        try:
            await self._door.open()
            if by_handle is not None:
                await self._door.trace({"session_id": by_handle, "from_step": 0, "to_step": 0})  # it has to be there
            else:
                options |= {} if "context_paths" not in options else {"context_paths": _paths(options["context_paths"])}
                options |= {} if "exclude" not in options else {"exclude": list(options["exclude"])}
                options |= {} if self._functions is None else {"host_functions": self._functions.offered()}
                self.opened = await self._door.init_context({**NO_LIMITS, **options})
                self._session_id = self.opened.session_id
        except BaseException:
            await shielded(self._end(), "the close of a session that could not be opened")
            raise
        where = asyncio.get_running_loop()
        self._finalizer = weakref.finalize(self, _forgotten, self._session_id, where, self._door, self._owns_door)

    def let_threads_go(self) -> None:
        """It is closed: no thread waits for calls of its functions."""
        if self._functions is not None:
            self._functions.let_threads_go()

    def leave_to_its_place(self) -> None:
        """Do not look after its end: that of its place ends it too."""
        if self._finalizer is not None:
            self._finalizer.detach()

    async def close(self) -> None:
        """End its kernel, unless another client has opened it or is using it.

        Its record and its values are kept, and its handle stays valid. Safe to call twice.
        """
        await shielded(self._end(), f"the close of session {self._session_id}")

    async def _end(self) -> None:
        self.leave_to_its_place()
        if self._functions is not None:
            self._functions.close()
        await (self._door.close() if self._owns_door else self._door.let_go(self._session_id))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def run(
        self,
        code: str,
        *,
        timeout_ms: int | None = None,
        on_output: Tell | None = None,
        answer: Answer | None = None,
    ) -> StepReport:
        """As `Session.run`. `on_output` and `answer`, which may be a coroutine function, are called in the event loop.

        A cancelled call interrupts its step.
        """
        arguments = {"session_id": self._session_id, "code": code, "timeout_ms": timeout_ms}
        arguments[ANSWERS] = answer is not None
        pieces: asyncio.Queue[Output | None] = asyncio.Queue()

        def tell(stream: Stream, text: str) -> None:
            pieces.put_nowait(Output(stream, text))

        running = asyncio.create_task(self._door.run(arguments, None if on_output is None else tell, self._functions))
        tasks: list[asyncio.Task[Any]] = [running]
        if answer is not None:
            tasks.append(asyncio.create_task(answered(self._door, self._session_id, running, answer)))
        for task in tasks:
            task.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                if on_output is not None:
                    on_output(piece)
        finally:
            if not running.done():
                await shielded(self._stop(running), "the interrupt of a step", within_s=INTERRUPT_S)
            for task in tasks[1:]:
                task.cancel()
        for task in tasks[1:]:
            if task.done():
                task.result()  # raises what `answer` has raised
        return running.result()

    async def _stop(self, running: asyncio.Task[StepReport]) -> None:
        while not running.done():  # it may not have begun yet, and then there is nothing to interrupt
            with contextlib.suppress(HostEnded):  # then so has the step's call
                await self._door.interrupt(self._session_id)
            await asyncio.wait({running}, timeout=LOOK_S)

    async def interrupt(self) -> None:
        """As `Session.interrupt`."""
        await self._door.interrupt(self._session_id)

    @overload
    async def get(self, name: str) -> Any: ...

    @overload
    async def get(self, name: str, kind: type[T]) -> T: ...

    async def get(self, name: str, kind: type[Any] = object) -> Any:
        """As `Session.get`."""
        part = await self._door.get({"session_id": self._session_id, "var_name": name}, VALUE_CHARS_MAX, as_text=False)
        if part.text:
            large = part.total_chars > VALUE_CHARS_MAX
            why = (
                f"has {part.total_chars:,} characters; get gives at most {VALUE_CHARS_MAX:,}" if large else "is no JSON"
            )
            raise InvalidInput(f"{name} ({part.type}) {why}.", "Read it with get_text, or a part of it.")
        if not isinstance(part.value, kind):
            raise InvalidInput(f"{name} is no {kind.__name__}: it is a {part.type}.", "Ask for another kind.")
        return part.value

    async def get_text(self, name: str, *, offset: int = 0, limit: int = TEXT_CHARS_MAX) -> str:
        """As `Session.get_text`."""
        if not 1 <= limit <= TEXT_CHARS_MAX:
            raise InvalidInput(f"limit must be a whole number of characters from 1 to {TEXT_CHARS_MAX:,}: {limit}.")
        arguments = {"session_id": self._session_id, "var_name": name, "offset": offset}
        text: str = (await self._door.get(arguments, limit, as_text=True)).value
        return text

    async def put(self, name: str, value: Any) -> None:
        """As `Session.put`."""
        if not name.isidentifier() or keyword.iskeyword(name):
            raise InvalidInput(f"{name!r} is no name of a variable: a Python identifier.")
        try:
            # Read back: what a tuple, or a number as a key, is in JSON is what the session gets.
            code = f"{name} = {json.loads(json.dumps(value, allow_nan=False))!a}"
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidInput(f"The value for {name} is no JSON: {error}.") from error
        if len(code) > PUT_CHARS_MAX:
            raise InvalidInput(
                f"The value for {name} takes {len(code):,} characters; put takes at most {PUT_CHARS_MAX:,}.",
                "Give it to add_context, as text or as json_text.",
            )
        report = await self.run(code)
        if report.status != "ok":
            why = f"{report.error.ename}: {report.error.evalue}" if report.error else report.note or report.stderr
            raise InvalidInput(f"{name} was not bound, the step ended with {report.status}: {why}")

    async def add_context(
        self,
        name: str,
        *,
        text: str | None = None,
        paths: StrPath | Sequence[StrPath] | None = None,
        json_text: str | None = None,
        **options: Unpack[ContextOptions],
    ) -> Added:
        """As `Session.add_context`."""
        sources = {"text": text, "paths": None if paths is None else _paths(paths), "json_text": json_text}
        exclude = list(options.get("exclude", ()))
        arguments = {"session_id": self._session_id, "name": name, **sources, **options, "exclude": exclude}
        return await self._door.add_context(arguments)

    async def finalize(
        self,
        *,
        final_text: str | None = None,
        final_var_name: str | None = None,
        quotes: Sequence[str | Mapping[str, str]] = (),
    ) -> FinalReport:
        """As `Session.finalize`."""
        answer = {"final_text": final_text, "final_var_name": final_var_name}
        cited = [one if isinstance(one, str) else dict(one) for one in quotes]
        return await whole_answer(self._door, {"session_id": self._session_id, **answer, "quotes": cited})

    async def trace(
        self, *, from_step: int | None = None, to_step: int | None = None, full: bool = False
    ) -> Sequence[TraceEvent]:
        """As `Session.trace`."""
        steps = {"from_step": from_step, "to_step": to_step}
        return await self._door.trace(
            {"session_id": self._session_id, **steps, "detail": "full" if full else "summary"}
        )


def _paths(given: StrPath | Sequence[StrPath]) -> list[str]:
    paths = [given] if isinstance(given, str | os.PathLike) else given
    return [os.fspath(path) for path in paths]


def _forgotten(session_id: str, loop: asyncio.AbstractEventLoop, door: Door, owns_door: bool) -> None:
    """A session that nobody has any more was not closed."""
    warnings.warn(f"session {session_id} was not closed", ResourceWarning, source=door, stacklevel=2)
    if loop.is_running():
        end = door.close if owns_door else lambda: door.let_go(session_id)
        what = f"the close of session {session_id}, which nobody has any more"
        loop.call_soon_threadsafe(lambda: loop.create_task(shielded(end(), what)))
