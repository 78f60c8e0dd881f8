"""Sessions of this process whose code asks somebody of this process: a backend with all that a user's has, or nobody.

Is: the parts, and what a step of theirs takes. `AtOnce` takes a question from the channel and answers it there: what is
measured then is the channel alone, as its bars are meant, without cache, limits, task, trace or day's count.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Backend, Facts
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.questions import (
    Answered,
    Answerer,
    Failed,
    Forecast,
    Give,
    Question,
    QuestionsLeft,
    Sketch,
    Source,
    Tally,
)
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.asking.answers import STOPPED
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import Guardrails, StepReport
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.settings import load_settings

PARALLEL = 64
WAIT_MS = 600_000
YES = Answered("yes")
LIMITS = Guardrails(
    max_steps=100_000, max_runtime_ms=3_600_000, budget_limit=10_000_000, max_subcalls=100_000,
    subcall_tokens_limit=1_000_000_000,
)  # fmt: skip


class InProcess:
    """Answers after a while, or at once."""

    facts = Facts("in-process", "here", "m")

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.calls = 0

    async def answer(self, asked: Asked) -> Answer:
        del asked
        self.calls += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return Answer("yes", 10, 1)

    async def close(self) -> None:
        """It has nothing."""


class AtOnce:
    """Answers where the broker would, at once or after a while, so many at a time (`Switchboard` and `Answers`)."""

    desk: Desk | None = None

    def __init__(self, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._queued: dict[int, Give] = {}
        self._under_way = 0

    def broker(self, session_id: str, account: Account, *, is_new: bool = False) -> AtOnce:
        """It is each session's own."""
        del session_id, account, is_new
        return self

    def ask(self, question: Question, give: Give) -> None:
        """`give` it its answer."""
        if self._delay_s:
            self._queued[question.number] = give
            self._go_on()
        else:
            give(YES)

    def _go_on(self) -> None:
        while self._queued and self._under_way < PARALLEL:
            self._under_way += 1
            give = self._queued.pop(next(iter(self._queued)))
            asyncio.get_running_loop().call_later(self._delay_s, self._answer, give)

    def _answer(self, give: Give) -> None:
        self._under_way -= 1
        give(YES)
        self._go_on()

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Those that wait get no answer."""
        del why
        for number in numbers:
            self._queued.pop(number, None)

    def end_step(self, step_index: int, source: Source) -> None:
        """It counts nothing."""

    def tally(self, step_index: int) -> Tally:
        """It counts nothing."""
        del step_index
        return Tally()

    def missed(self, numbers: Iterable[int]) -> None:
        """It counts nothing."""

    async def forecast(
        self, sketches: Sequence[Sketch], schema: str | None, model: str | None, fresh: bool
    ) -> Forecast:
        """Everything fits."""
        del schema, model, fresh
        return Forecast(len(sketches), 0, 0)

    def left(self) -> QuestionsLeft:
        """It has no limits."""
        return QuestionsLeft(LIMITS.max_subcalls, LIMITS.subcall_tokens_limit, None)

    def answerer(self) -> Answerer:
        """Nobody outside."""
        return Answerer("at-once", None, (), "here", PARALLEL, 1, LIMITS.max_subcalls, LIMITS.subcall_tokens_limit, "")

    def hold(self, held: bool) -> None:
        """It asks nobody."""


class Asking:
    """One session."""

    def __init__(self, registry: Registry, session_id: str) -> None:
        self._registry, self._session_id = registry, session_id

    async def step(self, code: str, wait_ms: int = WAIT_MS) -> StepReport:
        """A step; returns when it has ended, or after `wait_ms`."""
        return await self._registry.run_repl(
            self._session_id, code, timeout_ms=WAIT_MS, wait_ms=wait_ms, max_output_chars=10_000
        )

    async def done(self, code: str, **values: object) -> StepReport:
        """One that ends well; `__NAME__` in its code stands for a value."""
        for name, value in values.items():
            code = code.replace(f"__{name.upper()}__", repr(value))
        report = await self.step(code)
        if report.status != "ok":
            raise RuntimeError(f"a step ended with {report.status}: {report.error or report.note}")
        return report

    async def result(self, code: str, **values: object) -> tuple[float, ...]:
        """What its last expression gave: numbers."""
        text = (await self.done(code, **values)).result or ""
        return tuple(float(part) for part in text.strip("()").split(",") if part.strip())

    async def begin(self, code: str, open_questions: int) -> None:
        """Begin one that does not end, and return when so many of its questions are open."""
        await self.step(code, wait_ms=0)
        while self.open_questions < open_questions:
            await asyncio.sleep(0.01)
            if self._running is None:
                raise RuntimeError("a step that was to wait has ended")

    @property
    def _running(self) -> RunningStep | None:
        return self._registry.handles.sessions[self._session_id]._running

    @property
    def open_questions(self) -> int:
        """Of the step that runs."""
        report = None if self._running is None else self._running.subcalls()
        if report is None:
            return 0
        ended = report.answered + report.cached + report.duplicate + sum(report.failed.values())
        return report.asked - ended

    async def interrupt(self) -> float:
        """Stop the step that runs; how long that takes, in ms."""
        begin = time.perf_counter()
        report = await self._registry.interrupt(self._session_id)
        took_ms = (time.perf_counter() - begin) * 1_000
        if report.status != "interrupted" or report.lost is not None:
            raise RuntimeError(f"an interrupted step is {report.status}: {report.lost}")
        return took_ms


class Board:
    """The sessions of one registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def session(self) -> Asking:
        """One more."""
        opened = await self._registry.init_context(context_text="x", context_paths=None, limits=LIMITS)
        return Asking(self._registry, opened.session_id)


@asynccontextmanager
async def board(backend: Backend | AtOnce, **environ: str) -> AsyncIterator[Board]:
    """With everything that a user's has: cache, trace and the day's count; or with the channel alone."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as directory:
        settings = load_settings(directory, {"RLM_STATE_DIR": f"{directory}/state", "HOME": directory, **environ})
        registry = await Registry.open(settings)
        try:
            switchboard = backend if isinstance(backend, AtOnce) else _switchboard(registry, backend)
            registry.handles._shared = replace(registry.handles._shared, switchboard=switchboard)
            yield Board(registry)
        finally:
            await registry.close()


def _switchboard(registry: Registry, backend: Backend) -> Switchboard:
    books = StoreBooks(registry.store, registry._writer, backend.facts, is_cached=True, day_max=10**9)
    return Switchboard(backend, Ceilings(10**6, 10**12, parallel=PARALLEL), books, books)


@asynccontextmanager
async def asking(backend: Backend | AtOnce) -> AsyncIterator[Asking]:
    """One session of one registry."""
    async with board(backend) as opened:
        yield await opened.session()
