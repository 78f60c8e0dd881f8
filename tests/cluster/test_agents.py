"""An agent's tools and resources where its sessions are in a cluster: the answers of home, whichever node has one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, cast

import pytest

from rlm_kernel_mcp.cluster.router.routed import Routed
from rlm_kernel_mcp.cluster.router.way import Way
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.server import tools
from rlm_kernel_mcp.server.elsewhere import in_cluster
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from tests.cluster.plain import PlainCluster

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class Agent:
    """One client of one router."""

    def __init__(self, cluster: PlainCluster, directory: Path) -> None:
        settings = load_settings(directory, {"HOME": str(directory)})
        self.caller = Caller.of("stdio", settings)
        self.caller.client = "an agent 1.0"
        self.routed = Routed(Way.of(cluster, open_store(str(cluster.store))))

    async def registry(self, _session_id: str | None = None) -> Registry:
        return cast(Registry, self.routed)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The JSON of an answer."""
        row = tools.BY_NAME[tool]
        result = await tools.answer(row, self.registry, self.caller, arguments, do=in_cluster.do)
        said: dict[str, Any] = json.loads(result.content[0].text)  # type: ignore[union-attr]
        assert said["ok"] is not bool(result.is_error)
        return said

    async def aclose(self) -> None:
        with closing(self.caller):
            await self.routed.close()


@pytest.fixture
async def agent(cluster: PlainCluster, tmp_path: Path) -> AsyncIterator[Agent]:
    (tmp_path / "notes.md").write_text("The answer is 42.\n", encoding="utf-8")
    async with aclosing(Agent(cluster, tmp_path)) as found:
        yield found


async def test_the_tools_answer_as_at_home(cluster: PlainCluster, agent: Agent) -> None:
    opened = await agent.call("rlm_init_context", context_paths=["notes.md"])
    session_id = opened["data"]["session_id"]
    assert opened["data"]["context"]["documents"][0]["name"] == "notes.md"
    step = await agent.call("rlm_run_repl", session_id=session_id, code="n = 41 + 1; n")
    assert (step["data"]["status"], step["data"]["result"]) == ("ok", "42")
    assert (await agent.call("rlm_await_step", session_id=session_id, step_index=1))["data"]["result"] == "42"
    assert (await agent.call("rlm_get_var", session_id=session_id, var_name="n"))["data"]["value"] == 42
    refused = await agent.call("rlm_get_var", session_id=session_id, var_name="m")
    assert refused["error"]["code"] == "VARIABLE_NOT_FOUND"
    assert (await agent.call("rlm_run_repl", session_id="s_2222222z", code="1"))["error"]["code"] == "SESSION_NOT_FOUND"
    assert (await agent.call("rlm_run_repl", session_id=session_id))["error"]["code"] == "INVALID_INPUT"
    denied = await agent.call("rlm_add_context", session_id=session_id, name="more", paths=["/etc/passwd"])
    assert denied["error"]["code"] == "CONTEXT_DENIED"
    final = await agent.call(
        "rlm_finalize", session_id=session_id, final_text="It is 42.", quotes=["The answer is 42."]
    )
    assert final["data"]["final_answer"] == "It is 42."


async def test_the_sessions_of_all_nodes_are_listed_and_read(cluster: PlainCluster, agent: Agent) -> None:
    handles = [
        (await agent.call("rlm_init_context", context_text=f"text {at}"))["data"]["session_id"] for at in range(4)
    ]
    assert {await cluster.node_of(one) for one in handles} == {"n0", "n1"}
    await agent.call("rlm_run_repl", session_id=handles[0], code="x = 1")
    listed = (await agent.call("rlm_list_sessions"))["data"]
    assert {row["session_id"] for row in listed["sessions"]} == set(handles)
    page = await agent.routed.list_sessions(state="all", limit=3, offset=2)
    assert (len(page.rows), page.omitted, page.offset) == (2, 0, 2)
    for handle in handles:
        trace = await agent.routed.get_trace(
            handle, from_step=None, to_step=None, detail="full", max_output_chars=8_000, offset=0
        )
        assert trace.events[0].action == "init_context"
        text, damaged = await in_cluster.notebook(await agent.registry(), handle)
        assert (json.loads(text)["nbformat"], damaged) == (4, 0)


async def test_a_node_that_is_gone_is_said_where_its_sessions_are_listed(cluster: PlainCluster, agent: Agent) -> None:
    handle = (await agent.call("rlm_init_context", context_text="text"))["data"]["session_id"]
    cluster.lose(await cluster.node_of(handle))
    listed = (await agent.call("rlm_list_sessions"))["data"]
    assert listed["sessions"] == []
    assert "1 session of nodes that are gone is not listed" in listed["note"]
    assert (await agent.call("rlm_run_repl", session_id=handle, code="context"))["data"]["result"] == "'text'"
    assert [row["session_id"] for row in (await agent.call("rlm_list_sessions"))["data"]["sessions"]] == [handle]


async def test_a_context_that_is_swept_away_while_it_is_opened_is_said_and_leaves_no_session(
    cluster: PlainCluster, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handle was nobody's before, and the answer INTERNAL_ERROR."""
    for node in cluster.nodes.values():
        _sweep_before_use(node.host._shared, cluster.store, monkeypatch)
    refused = await agent.call("rlm_init_context", context_paths=["notes.md"])
    assert refused["error"]["code"] == "SESSION_BUSY"
    assert "is in the shared store no more" in refused["error"]["message"]
    assert [node.host.held for node in cluster.nodes.values()] == [(), ()]
    assert await agent.routed._way.store.sessions() == []
    monkeypatch.undo()
    opened = await agent.call("rlm_init_context", context_paths=["notes.md"])
    step = await agent.call("rlm_run_repl", session_id=opened["data"]["session_id"], code="len(context)")
    assert step["data"]["status"] == "ok"


def _sweep_before_use(shared: SharedStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_blob = shared.put_blob

    async def swept(*asked: Any) -> None:
        for blob in (folder / "blobs").rglob("*"):
            if blob.is_file():
                blob.unlink()
        await put_blob(*asked)

    monkeypatch.setattr(shared, "put_blob", swept)


async def test_a_final_answer_whose_node_is_lost_is_given_once_more_by_the_next(
    cluster: PlainCluster, agent: Agent
) -> None:
    session_id = (await agent.call("rlm_init_context", context_text="text"))["data"]["session_id"]
    await agent.call("rlm_run_repl", session_id=session_id, code="x = 'the answer'")
    first = await agent.call("rlm_finalize", session_id=session_id, final_var_name="x")
    cluster.lose(await cluster.node_of(session_id))
    again = await agent.call("rlm_finalize", session_id=session_id, final_var_name="x")
    assert again["data"]["final_answer"] == first["data"]["final_answer"] == "the answer"
    other = await agent.call("rlm_finalize", session_id=session_id, final_text="another one")
    assert other["error"]["code"] == "SESSION_FINALIZED"
