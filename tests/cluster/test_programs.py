"""A program's sessions in a cluster: the same class and the same errors, over real nodes without Ray."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest

from rlm_kernel_mcp.api import AsyncSession, Sessions
from rlm_kernel_mcp.errors import (
    ContextDenied,
    ContextNotFound,
    InvalidInput,
    SessionFinalized,
    SessionNotFound,
    VariableNotFound,
)
from rlm_kernel_mcp.session.parked.reports import AskedItem
from tests.cluster.plain import PlainCluster
from tests.sessions import WAIT_S

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


async def test_a_session_in_a_cluster_is_the_same_class_with_the_same_errors(
    cluster: PlainCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "docs" / name).write_text(f"This is {name}.\nA line.\n", encoding="utf-8")
    async with AsyncSession(door=cluster.door(), context_paths="docs") as session:
        assert session.opened is not None
        told = list[str]()
        report = await session.run(
            "print(len(documents)); n = sorted(documents); n", on_output=lambda piece: told.append(str(piece))
        )
        assert (report.status, report.result, "".join(told)) == ("ok", "['a.txt', 'b.txt']", "2\n")
        assert await session.get("n") == ["a.txt", "b.txt"]
        assert await session.get_text("n", limit=3) == '["a'
        with pytest.raises(VariableNotFound):
            await session.get("m")
        (tmp_path / "more.txt").write_text("more", encoding="utf-8")
        await session.add_context("more", paths="more.txt")
        with pytest.raises(ContextNotFound):
            await session.add_context("none", paths="none.txt")
        with pytest.raises(ContextDenied):
            await session.add_context("none", paths="/etc/passwd")
        assert [event.action for event in await session.trace()][:2] == ["init_context", "run_repl"]
        final = await session.finalize(final_text="It says so.", quotes=[{"text": "This is b.txt.", "doc": "b.txt"}])
        assert final.citations is not None
        assert [one.passage and one.passage.doc for one in final.citations] == ["b.txt"]
        with pytest.raises(SessionFinalized):
            await session.run("1")
    with pytest.raises(SessionNotFound):
        await AsyncSession(door=cluster.door(), session_id="s_2222222z").open()


async def test_what_was_acknowledged_is_there_after_a_node_is_lost(cluster: PlainCluster) -> None:
    async with AsyncSession(door=cluster.door(), context_text="some text") as session:
        await session.run("x = 41")
        first = await cluster.node_of(session.session_id)
        cluster.lose(first)
        report = await session.run("x += 1; x, context")
        assert (report.status, report.result) == ("ok", "(42, 'some text')")
        assert await cluster.node_of(session.session_id) != first
        async with AsyncSession(door=cluster.door(), session_id=session.session_id) as other:
            assert await other.get("x") == 42


async def test_a_step_in_flight_at_a_lost_node_is_told_and_written_down_and_not_run_again(
    cluster: PlainCluster,
) -> None:
    async with AsyncSession(door=cluster.door(), context_text="some text") as session:
        await session.run("x = 1")
        name = await cluster.node_of(session.session_id)
        node = cluster.nodes[name]
        node.at_call.clear()
        running = asyncio.create_task(session.run("x += 1\nimport time\ntime.sleep(600)"))
        async with asyncio.timeout(WAIT_S):
            await node.at_call.wait()
        cluster.lose(name)
        async with asyncio.timeout(WAIT_S):
            report = await running
        assert report.status == "unknown"
        assert await session.get("x") == 1
        assert [event.result_status for event in await session.trace() if event.action == "run_repl"] == [
            "ok",
            "unknown",
        ]


async def test_a_cancelled_step_is_interrupted_where_it_runs(cluster: PlainCluster) -> None:
    async with AsyncSession(door=cluster.door(), context_text="some text") as session:
        await session.run("x = 1")
        node = cluster.nodes[await cluster.node_of(session.session_id)]
        node.at_call.clear()
        running = asyncio.create_task(session.run("import time\ntime.sleep(600)"))
        async with asyncio.timeout(WAIT_S):
            await node.at_call.wait()
        running.cancel()
        async with asyncio.timeout(WAIT_S):
            await asyncio.wait({running})
            assert (await session.run("x")).result == "1"


async def test_a_program_answers_what_its_code_asks_and_offers_no_functions(cluster: PlainCluster) -> None:
    def answer(item: AskedItem) -> str:
        return f"answer to {item.prompt}"

    async with AsyncSession(door=cluster.door(), context_text="some text") as session:
        report = await session.run("llm_query('one'), llm_query('two')", answer=answer)
        assert report.result == "('answer to one', 'answer to two')"
    with pytest.raises(InvalidInput, match="host_functions are not offered in a cluster"):
        await AsyncSession(door=cluster.door(), context_text="some", host_functions={"f": answer}).open()


def test_without_the_extra_a_cluster_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InvalidInput) as refused:
        Sessions(cluster="127.0.0.1:1")
    assert "pip install 'WHEEL[ray]'" in refused.value.next_step
