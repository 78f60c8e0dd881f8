"""A session outlives its server: another one goes on with it, never two at once, and says what is gone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionBusy, SessionFinalized, SessionNotFound
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.session.reports import Guardrails, SessionSummary
from rlm_kernel_mcp.session.trace.journal import Journal
from tests.losses import OWN, lost, restored, settle
from tests.sessions import AMPLE, WAIT_S, SessionDriver, open_registry, until

pytestmark = pytest.mark.anyio


async def opened_with_paths(registry: Registry, path: Path) -> SessionDriver:
    opened = await registry.init_context(context_text=None, context_paths=[str(path)], limits=AMPLE)
    return SessionDriver(registry, opened.session_id)


async def listed(registry: Registry, session_id: str) -> SessionSummary:
    (row,) = [row for row in (await registry.list_sessions(state="all")).rows if row.session_id == session_id]
    return row


async def tidied(registry: Registry) -> None:
    """Remove once more what a server removes at its start."""
    async with asyncio.timeout(WAIT_S):
        await asyncio.to_thread(registry.store.prune, Journal.now())


async def test_the_next_server_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """Values, counters, trace and earlier outputs; the first reply says where they come from."""
    limits = Guardrails(max_steps=5, max_runtime_ms=60_000, budget_limit=10_000)
    async with open_registry(tmp_path) as first:
        session = await SessionDriver.open(first, "the text", limits)
        await session.ok("x = [1]\ndef f(): return x\nprint('said')")
        await session.run("1 / 0")
        await settle(session)
        before = session.session.counters
    async with open_registry(tmp_path) as second:
        session = SessionDriver(second, session.session_id)
        row = await listed(second, session.session_id)
        assert (row.status, row.step_index, row.counters) == ("idle", 2, before)
        assert (await session.end_of(1)).stdout == "said\n"
        report = await session.ok("x.append(2); (f(), context)")
        assert report.result == "([1, 2], 'the text')"
        assert report.step_index == 3
        assert report.lost is not None
        assert report.lost.reason == "the server that had the session's kernel has ended"
        assert lost(report) == {}
        assert restored(report) == {"x", "f"} | OWN
        assert report.budget.steps_left == 2
        actions = [(event.action, event.step_index, event.result_status) for event in await session.trace()]
        assert actions == [
            ("init_context", 0, "ok"),
            ("run_repl", 1, "ok"),
            ("run_repl", 2, "error"),
            ("run_repl", 3, "ok"),
            ("restore", 3, "ok"),
        ]
        await session.ok("4")
        assert (await session.ok("5")).guardrail_stop == "max_steps"
    async with open_registry(tmp_path) as third:
        report = await SessionDriver(third, session.session_id).run("6")
        assert (report.status, report.guardrail_stop) == ("stopped", "max_steps")


async def test_one_server_at_a_time_drives_a_session(tmp_path: Path) -> None:
    """The other is told which process has it, may read its trace, and gets it when the first one ends."""
    async with open_registry(tmp_path) as second:
        async with open_registry(tmp_path) as first:
            session = await SessionDriver.open(first)
            await session.ok("x = 1")
            elsewhere = SessionDriver(second, session.session_id)
            for call in (
                lambda: elsewhere.run("x"),
                lambda: elsewhere.value("x"),
                lambda: elsewhere.finalize(text="a"),
            ):
                with pytest.raises(SessionBusy, match=rf"another server process \(pid {os.getpid()}\)") as refused:
                    await call()
                assert "rlm_get_trace works from here" in refused.value.next_step
            assert [event.action for event in await elsewhere.trace()] == ["init_context", "run_repl"]
            assert (await listed(second, session.session_id)).status == "idle"
            await session.begin("while True: pass")
            await first._writer.settled(session.session_id)
            assert (await listed(second, session.session_id)).status == "running"
            await session.interrupt()
            assert (await session.ok("x")).result == "1"
            await settle(session)
        assert (await elsewhere.ok("x")).result == "1"


async def test_a_context_of_files_is_loaded_again_where_it_is_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where it lay, whatever the new server's working directory is."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("alpha")
    (tmp_path / "docs" / "b.txt").write_text("beta")
    monkeypatch.chdir(tmp_path)
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(tmp_path)) as first:
        session = await opened_with_paths(first, Path("docs"))
        await session.ok("n = len(documents)")
        await settle(session)
    monkeypatch.chdir("/")
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(tmp_path)) as second:
        report = await SessionDriver(second, session.session_id).ok("(context, n, sorted(documents))")
        assert report.result == "('alphabeta', 2, ['a.txt', 'b.txt'])"
        assert lost(report) == {}


def change(directory: Path) -> None:
    (directory / "a.txt").write_text("ALPHA")


def remove(directory: Path) -> None:
    (directory / "a.txt").unlink()


def add(directory: Path) -> None:
    (directory / "c.txt").write_text("gamma")


@pytest.mark.parametrize("meddle", [change, *(pytest.param(one, marks=pytest.mark.slow) for one in (remove, add))])
async def test_a_context_that_is_not_what_it_was_is_gone_and_not_another(
    tmp_path: Path, meddle: Callable[[Path], None]
) -> None:
    """Neither the new text nor an empty one is called `context`; values that were made of the old one are there."""
    directory = tmp_path / "docs"
    directory.mkdir()
    (directory / "a.txt").write_text("alpha")
    (directory / "b.txt").write_text("beta")
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(tmp_path)) as first:
        session = await opened_with_paths(first, directory)
        await session.ok("upper = context.upper()\nsame = context")
        await settle(session)
    meddle(directory)
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(tmp_path)) as second:
        session = SessionDriver(second, session.session_id)
        report = await session.ok("(upper, 'context' in globals(), 'documents' in globals(), scratch != '')")
        assert report.result == "('ALPHABETA', False, False, True)"
        assert "have changed" in lost(report)["context"] or "not" in lost(report)["context"]
        assert set(lost(report)) == {"context", "documents", "same"}
        assert "could not be loaded again" in lost(report)["same"]
        assert restored(report) == {"scratch", "upper"}


@pytest.mark.slow
async def test_an_inline_context_whose_copy_is_damaged_is_gone(tmp_path: Path) -> None:
    """It is held against its hash."""
    async with open_registry(tmp_path) as first:
        session = await SessionDriver.open(first, "the text")
        await session.ok("x = 1")
        await settle(session)
    with sqlite3.connect(tmp_path / "sessions.db") as database:
        database.execute("UPDATE contexts SET data = ?", (b"another text",))
    database.close()
    async with open_registry(tmp_path) as second:
        report = await SessionDriver(second, session.session_id).ok("(x, 'context' in globals())")
        assert report.result == "(1, False)"
        assert "damaged" in lost(report)["context"]


async def test_a_finalized_session_stays_so_everywhere(tmp_path: Path) -> None:
    """The same answer from any server, no other, no step; reading an old step changes nothing of it."""
    async with open_registry(tmp_path) as first, open_registry(tmp_path) as second:
        session = await SessionDriver.open(first)
        await session.ok("x = 'the answer'\nprint('said')")
        answer = await session.finalize(var="x")
        for registry in (second, first):
            elsewhere = SessionDriver(registry, session.session_id)
            assert (await elsewhere.finalize(var="x")).final_answer == answer.final_answer == "the answer"
            assert (await elsewhere.end_of(1)).stdout == "said\n"
            assert (await listed(registry, session.session_id)).status == "finalized"
            with pytest.raises(SessionFinalized):
                await elsewhere.finalize(text="another")
            with pytest.raises(SessionFinalized):
                await elsewhere.run("1")
            assert (await elsewhere.trace())[-1].action == "finalize"
            await elsewhere.finalize(var="x")


async def test_old_sessions_are_removed_when_a_server_starts(tmp_path: Path) -> None:
    """With their values; the live ones stay."""
    async with open_registry(tmp_path) as first:
        old, new = await SessionDriver.open(first), await SessionDriver.open(first)
        for session in (old, new):
            await session.ok("x = 1")
            await settle(session)
    with sqlite3.connect(tmp_path / "sessions.db") as database:
        moment = "2020-01-01T00:00:00.000Z"
        database.execute("UPDATE sessions SET last_used_at = ? WHERE session_id = ?", (moment, old.session_id))
    database.close()
    async with open_registry(tmp_path) as second:
        await until(lambda: {path.stem for path in (tmp_path / "snapshots").iterdir()} == {new.session_id})
        # Not by `session`, which looks at the checksum that the update above has made stale.
        await until(lambda: not second.store.knows(old.session_id))
        with pytest.raises(SessionNotFound):
            await SessionDriver(second, old.session_id).run("x")
        assert (await SessionDriver(second, new.session_id).ok("x")).result == "1"


async def test_a_damaged_store_does_not_take_values_of_others_along(tmp_path: Path) -> None:
    """It is set aside with a word, and its sessions' values stay: repaired, it has them all."""
    async with open_registry(tmp_path) as first:
        session = await SessionDriver.open(first)
        await session.ok("x = 1")
        await settle(session)
    good = (tmp_path / "sessions.db").read_bytes()
    (tmp_path / "sessions.db").write_bytes(b"no database at all" * 1_000)
    async with open_registry(tmp_path) as second:
        await tidied(second)
        fresh = await SessionDriver.open(second)
        report = await fresh.ok("1")
        assert report.note is not None
        assert "The session store was damaged" in report.note
        assert (await fresh.ok("2")).note is None
        with pytest.raises(SessionNotFound):
            await SessionDriver(second, session.session_id).run("x")
    (tmp_path / "sessions.db").write_bytes(good)
    async with open_registry(tmp_path) as third:
        assert (await SessionDriver(third, session.session_id).ok("x")).result == "1"
