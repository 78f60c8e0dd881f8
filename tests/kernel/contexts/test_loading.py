"""A context that takes its time is loaded while nobody waits: what is answered meanwhile, and how it ends."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.reading import build_payload
from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.errors import ContextNotFound, InvalidInput, VariableNotFound
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.questions_wire import ASKING
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.contexts.conftest import row_of
from tests.losses import lost
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry, until

pytestmark = pytest.mark.anyio


@dataclass
class Gate:
    """Holds up the reading of files, after they were found, until it is opened."""

    path: Path
    open: threading.Event = field(default_factory=threading.Event)
    waiting: int = 0

    def build(self, *given: Any, **options: Any) -> Payload:
        """As `build_payload`, behind the gate."""
        check_cancelled: Callable[[], None] = options["check_cancelled"]
        self.waiting += 1
        while not self.open.wait(0.01):
            check_cancelled()
        return build_payload(*given, **options)


@pytest.fixture
def gate(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    (directory / "a.txt").write_text("of a\n")
    made = Gate(directory / "a.txt")
    monkeypatch.setattr("rlm_kernel_mcp.session.contexts.source.build_payload", made.build)
    return made


@pytest.fixture
def registry(mapping_registry: Registry) -> Registry:
    """One that may read the file."""
    return mapping_registry


async def begin(registry: Registry, gate: Gate) -> SessionDriver:
    """A session whose context is being loaded: its files were found, and none has been read."""
    take = KernelPool.take

    async def take_then(pool: KernelPool, use: Any) -> Any:
        await until(lambda: gate.waiting > 0)
        return await take(pool, use)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KernelPool, "take", take_then)
        async with asyncio.timeout(WAIT_S):
            opened = await registry.init_context(
                context_text=None, context_paths=[str(gate.path)], limits=AMPLE, options=Options(wait_ms=0)
            )
    assert opened.context == LoadingReport("context", "documents", 5, 0)
    assert list(opened.namespace) == ["context", "documents", "scratch", *EXPLORING, *ASKING]
    return SessionDriver(registry, opened.session_id)


async def test_the_first_step_waits_for_the_context_and_pays_for_nothing(registry: Registry, gate: Gate) -> None:
    """Until then there is no text of that name, and the session is listed without a length."""
    session = await begin(registry, gate)
    with pytest.raises(VariableNotFound, match="still being loaded"):
        await session.value("context")
    row = await row_of(registry, session.session_id)
    assert (row.status, row.chars, row.loading) == ("idle", None, LoadingReport("context", "documents", 5, 0))
    step = await session.begin("context, list(documents)", timeout_ms=60_000)
    gate.open.set()
    report = await session.end_of(step.step_index)
    assert (report.status, report.result) == ("ok", "('of a\\n', ['a.txt'])")
    digest = hashlib.sha256(b"of a\n").hexdigest()
    assert report.note == (
        f"context is loaded: 5 characters in 1 document, 1 line, 5 bytes, sha256 {digest}, held: memory."
    )
    assert session.session.counters.runtime_ms < 60_000
    row = await row_of(registry, session.session_id)
    assert (row.chars, row.loading) == (5, None)
    events = [(event.action, event.result_status) for event in await session.trace("summary")]
    assert sorted(events) == [("init_context", "ok"), ("init_context", "ok"), ("run_repl", "ok")]
    assert (await session.ok("1")).note is None


async def test_a_load_that_fails_is_that_step_s_answer_and_the_name_can_be_given_again(
    registry: Registry, gate: Gate
) -> None:
    """Once; the session goes on without it."""
    session = await begin(registry, gate)
    step = await session.begin("1")
    gate.path.unlink()
    gate.open.set()
    for _ in range(2):  # whoever asks for that step hears it
        with pytest.raises(ContextNotFound):
            await session.end_of(step.step_index)
    assert (await session.ok("2")).result == "2"
    gate.path.write_text("again\n")
    added = await registry.add_context(session.session_id, Given(paths=(str(gate.path),)), Options("context"))
    assert isinstance(added.context, ContextReport)
    report = await session.ok("context, list(documents)")
    assert report.result == "('again\\n', ['a.txt'])"


async def test_a_load_that_failed_before_a_step_is_its_answer_and_the_step_is_none(
    registry: Registry, gate: Gate
) -> None:
    """Nothing is charged, and it has no number."""
    session = await begin(registry, gate)
    gate.path.unlink()
    gate.open.set()
    await until(lambda: session.session.contexts.contexts.first.has_failed)
    with pytest.raises(ContextNotFound):
        await session.run("1")
    assert session.session.counters.step_index == 0
    assert (await session.ok("2")).step_index == 1


async def test_an_interrupt_ends_the_wait_and_the_load_goes_on(registry: Registry, gate: Gate) -> None:
    """The step did not run; the next one waits again."""
    session = await begin(registry, gate)
    step = await session.begin("x = 1")
    report = await session.interrupt()
    assert (report.status, report.step_index) == ("interrupted", step.step_index)
    gate.open.set()
    assert (await session.ok("context")).result == "'of a\\n'"
    assert (await session.run("x")).status == "error"


async def test_an_answer_ends_a_load(registry: Registry, gate: Gate) -> None:
    """Nobody needs it any more, and its thread ends."""
    session = await begin(registry, gate)
    await session.finalize(text="done")
    assert not session.registry._sessions
    assert (await row_of(registry, session.session_id)).status == "finalized"


async def test_a_context_that_is_added_can_take_its_time_too(registry: Registry, gate: Gate) -> None:
    """The next step waits for it; a second one may be added meanwhile."""
    session = await SessionDriver.open(registry)
    given, options = Given(paths=(str(gate.path),)), Options("more", wait_ms=0)
    added = await registry.add_context(session.session_id, given, options)
    assert isinstance(added.context, LoadingReport)
    text = await registry.add_context(session.session_id, Given(text="at once"), Options("text"))
    assert isinstance(text.context, ContextReport)
    step = await session.begin("more, text")
    gate.open.set()
    assert (await session.end_of(step.step_index)).result == "('of a\\n', 'at once')"


async def test_a_kernel_that_dies_meanwhile_is_replaced_and_gets_the_context(registry: Registry, gate: Gate) -> None:
    """The files are read once."""
    session = await begin(registry, gate)
    await session.kernel.kill("the test's wish")
    gate.open.set()
    report = await session.ok("context")
    assert report.result == "'of a\\n'"
    assert lost(report) == {}
    assert gate.waiting == 1


async def test_another_server_loads_what_one_that_ended_did_not(tmp_path: Path, directory: Path, gate: Gate) -> None:
    """By the record, at the first step there; also what was to be added."""
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(directory)) as first:
        session = await begin(first, gate)
        options = Options("more", wait_ms=0)
        await first.add_context(session.session_id, Given(paths=(str(gate.path),)), options)
    gate.open.set()
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(directory)) as second:
        session = SessionDriver(second, session.session_id)
        report = await session.ok("context, more, list(documents)")
        assert report.result == "('of a\\n', 'of a\\n', ['a.txt', 'more/a.txt'])"


async def test_a_call_that_is_cut_off_leaves_the_load_to_the_session(registry: Registry, gate: Gate) -> None:
    """The next step waits for it, and is told of it, since nobody else was."""
    session = await SessionDriver.open(registry)
    adding = asyncio.create_task(
        registry.add_context(session.session_id, Given(paths=(str(gate.path),)), Options("more", wait_ms=60_000))
    )
    await until(lambda: gate.waiting > 0)
    adding.cancel()
    await asyncio.wait({adding})
    step = await session.begin("more")
    gate.open.set()
    report = await session.end_of(step.step_index)
    assert report.result == "'of a\\n'"
    assert (report.note or "").startswith("more is loaded: ")


async def test_a_name_under_which_something_is_loading_is_taken(registry: Registry, gate: Gate) -> None:
    """The load goes on, and is the one that the name means."""
    session = await SessionDriver.open(registry)
    await registry.add_context(session.session_id, Given(paths=(str(gate.path),)), Options("more", wait_ms=0))
    with pytest.raises(InvalidInput, match="has a context 'more' already"):
        await registry.add_context(session.session_id, Given(text="another"), Options("more"))
    gate.open.set()
    assert (await session.ok("more")).result == "'of a\\n'"
