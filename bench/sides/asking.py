"""A session of this process whose code asks a backend of this process, with all that a user's has."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Backend, Facts
from rlm_kernel_mcp.session.answering.books import StoreBooks
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import Guardrails, StepReport
from rlm_kernel_mcp.session.steps.run import RunningStep
from rlm_kernel_mcp.settings import load_settings

PARALLEL = 64
WAIT_MS = 600_000
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
async def board(backend: Backend, **environ: str) -> AsyncIterator[Board]:
    """With everything that a user's has: cache, trace and the day's count."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as directory:
        settings = load_settings(directory, {"RLM_STATE_DIR": f"{directory}/state", "HOME": directory, **environ})
        registry = await Registry.open(settings)
        try:
            books = StoreBooks(registry.store, registry._writer, backend.facts, is_cached=True, day_max=10**9)
            switchboard = Switchboard(backend, Ceilings(10**6, 10**12, parallel=PARALLEL), books, books)
            registry.handles._shared = replace(registry.handles._shared, switchboard=switchboard)
            yield Board(registry)
        finally:
            await registry.close()


@asynccontextmanager
async def asking(backend: Backend) -> AsyncIterator[Asking]:
    """One session of one registry."""
    async with board(backend) as opened:
        yield await opened.session()
