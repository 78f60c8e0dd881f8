"""Code in a container asks over the same channel: the engine gives it no network, and none is needed."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from typing import Final

import pytest

from rlm_kernel_mcp.questions_wire import ASKING
from tests.endpoints.aside import KEY, asks, endpoint_aside, nothing, only_those_that, prompts, wait_until
from tests.endpoints.endpoint import Endpoint, Seen
from tests.endpoints.looking import environment_of
from tests.escape.answered import answered
from tests.escape.attack_server import AttackServer, opened
from tests.escape.cases import Case
from tests.escape.container.runtimes import ContainerServer, in_containers
from tests.escape.container.test_sessions_in_containers import kernels
from tests.escape.test_corpus_questions import CASES, FAST
from tests.escape.verdicts import tried
from tests.parts import require_openai

pytestmark = pytest.mark.slow

IN_EVERY_WAY: Final = """
import asyncio
from concurrent.futures import ThreadPoolExecutor
names = [f"q{n}" for n in range(40)]
with ThreadPoolExecutor(8) as pool:
    threads = list(pool.map(llm_query, names))
tasks = await asyncio.gather(*map(llm_query_async, names))
batch = llm_query_batched(names)
threads == tasks == batch == [f"echo of {name}" for name in names], llm_query("number", schema=int)
"""


def reply(seen: Seen) -> str:
    """What the endpoint answers."""
    return '{"answer": 7}' if "number" in seen.user else "echo of " + seen.user.partition("\n")[0]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    require_openai()
    with endpoint_aside(reply=reply) as made:
        yield made


@pytest.fixture(scope="module")
def attacked(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    """A hostile session in a container, its neighbour in another, and an endpoint that says what reached it."""
    require_openai()
    with (
        tempfile.TemporaryDirectory(prefix="rlm-q-") as run_base,  # short: sockets lie below it
        answered() as (settings, unseen),
        opened(tmp_path_factory.mktemp("attacked"), "any", **in_containers(runtime, run_base), **settings) as made,
    ):
        made.unseen = unseen
        yield made


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES if case.name in FAST])
def test_a_hostile_question_is_held_in_a_container_too(attacked: AttackServer, case: Case) -> None:
    """One of each kind, judged as without a container: its walls come beside the kernel's own."""
    assert attacked.walls["container"]
    assert tried(attacked, case)[1] == [], case.must


@pytest.fixture
def asking(runtime: str, endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerServer]:
    """A server in container mode whose sessions have somebody to ask."""
    found = ContainerServer(runtime, tmp_path_factory.mktemp("asking"), RLM_IMPORT_POLICY="any", **asks(endpoint))
    try:
        yield found
    finally:
        found.close()


def test_a_kernel_in_a_container_asks_and_so_does_the_one_after_it(asking: ContainerServer, endpoint: Endpoint) -> None:
    """In each way; what is open is let go with its step or its kernel, and only that is asked again."""
    client = asking.client
    session_id = client.open_session("alpha\nbeta\n")
    assert client.run(session_id, "llm_query('which?', lines(2, 2))")["result"] == "'echo of which?'"
    assert client.run(session_id, IN_EVERY_WAY)["result"] == "(True, 7)"
    assert max(prompts(endpoint).values()) == 1
    endpoint.held = only_those_that("slow")
    call = client.begin("rlm_run_repl", {"session_id": session_id, "code": "llm_query_batched(['fast', 'slow'])"})
    wait_until(client, lambda: prompts(endpoint)["slow"] == 1)
    ended = client.data("rlm_interrupt", session_id=session_id)
    assert (ended["status"], ended["subcalls"]["failed"]) == ("interrupted", {"stopped": 1})
    assert client.result(call)["structuredContent"]["data"]["status"] == "interrupted"
    call = client.begin("rlm_run_repl", {"session_id": session_id, "code": "llm_query('slow')"})
    wait_until(client, lambda: prompts(endpoint)["slow"] == 2)
    os.kill(asking.inspect(asking.container_of(session_id))["State"]["Pid"], signal.SIGKILL)
    died = client.result(call)["structuredContent"]["data"]
    assert died["status"] == "kernel_died"
    assert {one["name"] for one in died["lost"]["lost"]}.isdisjoint(ASKING)
    endpoint.held = nothing
    report = client.run(session_id, "llm_query_batched(['fast', 'slow'])")
    assert report["result"] == "['echo of fast', 'echo of slow']"
    assert (report["subcalls"]["cached"], report["subcalls"]["answered"]) == (1, 1)
    assert (prompts(endpoint)["fast"], prompts(endpoint)["slow"]) == (1, 3)
    assert [process.pid for process in kernels(asking) if KEY.encode() in environment_of(process.pid)] == []


def test_a_child_works_in_a_container_of_its_own(runtime: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Also once that has ended; its final answer is its parent's."""
    children = {"RLM_SUBCALL_BACKEND": "agent", "RLM_SUBCALL_DEPTH": "2", "RLM_IMPORT_POLICY": "any"}
    server = ContainerServer(runtime, tmp_path_factory.mktemp("parent"), **children)
    try:
        client = server.client
        parent = client.open_session("alpha\nbeta\n")
        (item,) = client.run(parent, "rlm_query('How many words?', 'one two three')")["questions"]["items"]
        child = item["child_session"]
        assert client.run(child, "words = context.split()\nlen(words)")["result"] == "3"
        containers = [server.container_of(session_id) for session_id in (parent, child)]
        assert len({server.inspect(one)["State"]["Pid"] for one in containers}) == 2
        report = client.run(child, "import os\nos._exit(3)")  # killed from outside, a step could still meet it
        assert report["status"] == "kernel_died"
        assert client.run(child, "len(context)")["result"] == "13"
        client.data("rlm_finalize", session_id=child, final_text="three")
        assert client.data("rlm_answer", session_id=parent)["result"] == "'three'"
    finally:
        server.close()
