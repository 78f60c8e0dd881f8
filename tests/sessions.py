"""Real sessions for tests: a registry with a state directory of its own, and one session of it driven step by step.

Is: the project's own session layer over real kernels, every wait bounded. Is not: MCP (`tests/mcp`).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.forked import ForkedPlacement, ForkServer
from rlm_kernel_mcp.session.carrying.durable import Durable
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.finding import steps as finding_steps
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import FinalReport, Guardrails, StepReport, VariableSlice
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from rlm_kernel_mcp.settings import load_settings
from tests.processes import thread_statuses
from tests.specs import write_spec
from tests.warm import fork_servers

WAIT_S: Final = 60.0
"""Bound of every wait; nothing here should come near it."""
POLL_S: Final = 0.002
"""Pause between two looks for what tells nobody that it has become so; the kernels need the processor meanwhile."""
_opened: Final[set[Registry]] = set()
"""Every registry of this process that is open: the worker's own ones live beside that of a test."""
AMPLE: Final = Guardrails(max_steps=10_000, max_runtime_ms=3_600_000, budget_limit=100_000_000)
"""Limits that no test reaches by accident."""


@asynccontextmanager
async def open_registry(
    state_dir: Path, durable: Durable | None = None, /, *, policy: Mapping[str, Any] | None = None, **variables: str
) -> AsyncIterator[Registry]:
    """A registry whose settings are the defaults and these variables; closed at the end, whatever state it is in.

    `policy`: what is to be other than in the shipped one, by part (`tests/specs.py`). `durable`: as `Registry.open`.
    """
    if policy is not None:
        write_spec(state_dir, "changed", dict(policy))
        variables |= {"RLM_KERNEL": "changed", "JUPYTER_PATH": str(state_dir)}
    settings = load_settings(Path.cwd(), {"RLM_STATE_DIR": str(state_dir), **variables})
    async with asyncio.timeout(WAIT_S):
        registry = await Registry.open(settings, durable=durable)
    _opened.add(registry)
    try:
        yield registry
    finally:
        _opened.remove(registry)
        async with asyncio.timeout(WAIT_S):
            await registry.close()


@asynccontextmanager
async def open_workers_registry(state_dir: Path, **options: Any) -> AsyncIterator[Registry]:
    """One for many tests, whose fork server is started as a user's is, in a worker of `bin/test` too."""
    async with AsyncExitStack() as ends:
        with fork_servers.started():
            registry = await ends.enter_async_context(open_registry(state_dir, **options))
            await at_rest()  # the fork server has been started for the spare kernel
        yield registry


async def at_rest() -> None:
    """Wait until no registry of this loop starts a spare kernel, writes its log into its store, or reads sources.

    Who counts the processes or the descriptors of this process would count those of the others too.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(WAIT_S):
        for registry in [one for one in _opened if one._tasks and one._tasks[0].get_loop() is loop]:
            while (filling := registry._pool._filling) is not None and not filling.done():
                await asyncio.wait({filling})
            await asyncio.to_thread(registry.store._database._checkpoints.join)
        if finding_steps._thread.is_used:  # what was delivered is looked for in it, one after the other
            await asyncio.wrap_future(finding_steps._thread.submit(bool))


def fork_server_of(registry: Registry) -> ForkServer:
    """The fork server of a registry that has started a kernel."""
    placement = registry._starter._placement
    assert isinstance(placement, ForkedPlacement)
    assert placement.fork_server is not None
    return placement.fork_server


@asynccontextmanager
async def lent(registry: Registry) -> AsyncIterator[Registry]:
    """A registry that others use before and after: every session that is opened meanwhile is ended."""
    yield registry
    await _end(registry, list(registry.handles.sessions.values()))


async def end_session(driver: SessionDriver) -> None:
    """End a session and let it go, whatever it does: kernels of tests that have ended take room and time."""
    session = driver.registry.handles.sessions.get(driver.session_id)
    await _end(driver.registry, [] if session is None else [session])


async def _end(registry: Registry, sessions: Sequence[Session]) -> None:
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(session.close("its tests have ended") for session in sessions))
    for session in sessions:
        registry.handles.let_go(session)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that tells nobody when it becomes so."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)


class SessionDriver:
    """One session, as an agent uses it."""

    def __init__(self, registry: Registry, session_id: str) -> None:
        self.registry = registry
        self.session_id = session_id

    @classmethod
    async def open(cls, registry: Registry, context: str = "some text", limits: Guardrails = AMPLE) -> SessionDriver:
        async with asyncio.timeout(WAIT_S):
            opened = await registry.init_context(context_text=context, context_paths=None, limits=limits)
        return cls(registry, opened.session_id)

    @property
    def session(self) -> Session:
        """The session behind the handle, to look at what no client sees."""
        return self.registry.handles.sessions[self.session_id]

    @property
    def kernel(self) -> Kernel:
        """The session's kernel, to act on it from outside."""
        kernel = self.session.kernel.current
        assert kernel is not None
        return kernel

    async def run(self, code: str, **options: Any) -> StepReport:
        """A step; returns when it has ended, or after `wait_ms` if that is given."""
        given = {"timeout_ms": None, "wait_ms": int(WAIT_S * 1000), "max_output_chars": 100_000, **options}
        async with asyncio.timeout(WAIT_S):
            return await self.registry.run_repl(self.session_id, code, **given)

    async def ok(self, code: str, **options: Any) -> StepReport:
        """A step that must end well."""
        report = await self.run(code, **options)
        assert report.status == "ok", report
        return report

    async def begin(self, code: str, **options: Any) -> StepReport:
        """Start a step and return at once, while it runs."""
        report = await self.run(code, wait_ms=0, **options)
        assert report.status == "running", report
        return report

    async def pause_kernel(self) -> None:
        """SIGSTOP its process; returns when each of its threads has stopped, which the signal does not wait for."""
        process = self.kernel.process
        process.send_signal(signal.SIGSTOP)
        await until(lambda: all("T (stopped)" in one for one in thread_statuses(process.pid)))

    async def until_printed(self, text: str) -> None:
        """Wait until the running step has printed something."""

        def printed() -> bool:
            step = self.session._running
            return step is not None and step.execution is not None and text in step.execution.reply.stdout.text()

        await until(printed)

    async def end_of(self, index: int, **options: Any) -> StepReport:
        """The report of a step, when it has ended."""
        given = {"wait_ms": int(WAIT_S * 1000), "max_output_chars": 100_000, **options}
        async with asyncio.timeout(WAIT_S):
            return await self.registry.await_step(self.session_id, index, **given)

    async def interrupt(self) -> StepReport:
        async with asyncio.timeout(WAIT_S):
            return await self.registry.interrupt(self.session_id)

    async def slice(self, name: str, offset: int = 0, limit: int = 4000) -> VariableSlice:
        async with asyncio.timeout(WAIT_S):
            return await self.registry.get_var(self.session_id, name, offset=offset, limit=limit)

    async def value(self, name: str) -> Any:
        return (await self.slice(name)).value

    async def finalize(
        self, *, text: str | None = None, var: str | None = None, quotes: Sequence[Quote] = ()
    ) -> FinalReport:
        async with asyncio.timeout(WAIT_S):
            return await self.registry.finalize(
                self.session_id, final_text=text, final_var_name=var, quotes=quotes, max_output_chars=100_000
            )

    async def trace(self, detail: str = "full") -> list[TraceEvent]:
        """Every event of the trace, on one page."""
        async with asyncio.timeout(WAIT_S):
            page = await self.registry.get_trace(
                self.session_id, from_step=None, to_step=None, detail=detail, max_output_chars=1 << 30, offset=0
            )
        assert page.next_offset is None
        return list(page.events)
