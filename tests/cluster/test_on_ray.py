"""Sessions on a real Ray of three nodes: what a program and an agent see, and what is there after a node's end."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.api import AsyncSession
from rlm_kernel_mcp.session.reports import StepReport
from tests.cluster.keeper import Keeper
from tests.cluster.looking import node_of
from tests.cluster.test_commands import run
from tests.mcp.line_client import LineClient
from tests.parts import ROOT
from tests.soaks.hosts.cluster_nodes import Kills

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(180)]
KILLS = 4
ATTACK = """
def module(name):
    for kind in getattr(object, "__subcl" + "asses__")():
        there = getattr(getattr(kind, "__init__", None), "__glo" + "bals__", {})
        if "sys" in there and hasattr(there["sys"], "modules"):
            return there["sys"].modules[name]

socket, os = module("_socket"), module("posix")
got = []

def tried(work):
    try:
        got.append(f"did it: {work()}")
    except OSError as error:
        got.append(type(error).__name__)

def connected(kind, place):
    made = socket.socket(kind, socket.SOCK_STREAM)
    made.connect(place)

tried(lambda: connected(socket.AF_INET, ("127.0.0.1", port)))
for path in paths:
    tried(lambda: connected(socket.AF_UNIX, path))
    tried(lambda: os.open(path, os.O_RDWR))
"""
AGAIN = """
import asyncio, sys
from rlm_kernel_mcp.api import Session
with Session(cluster="auto", session_id=sys.argv[1]) as session:
    print(session.run("x += 1; x").result)
"""


def session(keeper: Keeper, **options: Any) -> AsyncSession:
    """A session of the cluster, through a router in this process."""
    return AsyncSession(cluster="auto", env=keeper.env, **options)


async def until_known(one: AsyncSession, code: str) -> StepReport:
    """A step that may be run twice: again where its node was lost under it."""
    report = await one.run(code)
    return await one.run(code) if report.status == "unknown" else report


def test_a_step_runs_on_a_node_and_its_values_are_read_back(keeper: Keeper) -> None:
    async def scene() -> None:
        async with session(keeper, context_text="one two three") as one:
            report = await one.run("words = context.split(); len(words)")
            assert (report.status, report.result) == ("ok", "3")
            assert await one.get("words") == ["one", "two", "three"]

    asyncio.run(scene())


def test_what_was_acknowledged_is_there_after_a_node_was_killed(keeper: Keeper) -> None:
    async def scene() -> None:
        async with session(keeper, context_text="one two three") as one:
            await one.run("x = 41; words = context.split()")
            at = await node_of(keeper, one.session_id)
            keeper.kill(at.pid)
            report = await until_known(one, "x, words, context[:3]")
            assert report.result == "(41, ['one', 'two', 'three'], 'one')"
            assert report.lost is None or report.lost.names == ()
            assert (await node_of(keeper, one.session_id)).node != at.node

    keeper.add()
    asyncio.run(scene())


def test_a_step_in_flight_on_a_killed_node_is_unknown_and_is_not_run_again(keeper: Keeper) -> None:
    async def scene() -> None:
        async with session(keeper, context_text="x") as one:
            await one.run("ran = []")
            at = await node_of(keeper, one.session_id)
            running = asyncio.create_task(one.run("ran.append(1)\nwhile True: pass"))
            done, _ = await asyncio.wait({running}, timeout=2)
            assert not done
            keeper.kill(at.pid)
            report = await running
            assert report.status == "unknown"
            assert await one.get("ran") == []
            told = [event for event in await one.trace() if event.result_status == "unknown"]
            assert [event.step_index for event in told] == [report.step_index]

    keeper.add()
    asyncio.run(scene())


def test_a_node_that_was_only_stopped_acknowledges_nothing_afterwards(keeper: Keeper) -> None:
    async def scene() -> None:
        async with session(keeper, context_text="x") as one:
            await one.run("z = 1")
            at = await node_of(keeper, one.session_id)
            keeper.stop(at.pid)
            assert (await until_known(one, "z = 2; z")).result == "2"
            keeper.go_on()
            assert (await until_known(one, "z")).result == "2"
            assert (await node_of(keeper, one.session_id)).node != at.node

    keeper.add()
    asyncio.run(scene())


def test_two_routers_go_on_with_one_session(keeper: Keeper) -> None:
    async def scene() -> None:
        async with session(keeper, context_text="x") as one:
            await one.run("x = 1")
            clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RLM_"))}
            other = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", AGAIN, one.session_id), cwd=ROOT, env=clean | keeper.env, stdout=-1
            )
            said, _ = await asyncio.wait_for(other.communicate(), 120)
            assert said.split()[-1:] == [b"2"]
            assert (await one.run("x += 1; x")).result == "3"

    asyncio.run(scene())


def test_a_drained_node_lets_its_sessions_go_and_they_come_back_elsewhere(keeper: Keeper) -> None:
    async def scene() -> None:
        async with session(keeper, context_text="x") as one:
            await one.run("x = 1")
            at = await node_of(keeper, one.session_id)
            done = await asyncio.to_thread(run, keeper, "drain", at.node)
            assert done.returncode == 0, done.stderr
            assert (await one.run("x += 1; x")).result == "2"
            assert (await node_of(keeper, one.session_id)).node != at.node

    keeper.add()
    asyncio.run(scene())


def test_an_agent_s_stdio_server_is_a_router(keeper: Keeper, tmp_path: Path) -> None:
    client = LineClient(tmp_path, keeper.env, (sys.executable, "-m", "rlm_kernel_mcp", "serve", "--cluster", "auto"))
    try:
        client.initialize()
        session_id = client.open_session("some text")
        data = client.data("rlm_run_repl", session_id=session_id, code="len(context)")
        assert data["result"] == "9"
    finally:
        client.kill()


def test_nodes_that_are_killed_under_working_sessions_lose_nothing(keeper: Keeper) -> None:
    """A few rounds of `bin/soak cluster`, by its seed."""

    async def scene() -> None:
        kills = Kills(keeper, random.Random(18))
        try:
            await kills.open()
            for _ in range(KILLS):
                await kills.round()
        finally:
            await kills.close()
        assert kills.told["kills"] == KILLS

    keeper.add()
    asyncio.run(scene())


@pytest.mark.parametrize("import_policy", ["allowlist", "any"])
def test_a_kernel_reaches_no_socket_of_ray_s(keeper: Keeper, tmp_path: Path, import_policy: str) -> None:
    """Neither by TCP nor by a file's name, whatever it may import, in a host on a machine where Ray runs."""
    port = int(keeper.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):  # it is there, for whoever can make a socket
        pass
    sockets = [str(path) for path in Path("/tmp").glob("rlm-ray-*/ray/session_*/sockets/*")]
    assert sockets

    async def scene() -> None:
        env = {"RLM_STATE_DIR": str(tmp_path), "RLM_IMPORT_POLICY": import_policy}
        async with AsyncSession(host="off", env=env, context_text="x") as one:
            await one.put("port", port)
            await one.put("paths", sockets)
            report = await one.run(ATTACK)
            assert report.status == "ok", report
            assert {*await one.get("got", list)} <= {"PermissionError", "FileNotFoundError"}

    asyncio.run(scene())
