"""A server whose user has nobody answer what code asks: nothing of it is told, and the functions say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.questions_wire import ASKING
from tests.mcp.line_client import LineClient

NOBODY = {"RLM_SUBCALL_BACKEND": "none"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """Such a server."""
    started = LineClient(tmp_path_factory.mktemp("nobody"), NOBODY)
    try:
        told = started.initialize()["instructions"]
        assert not any(name in told for name in ("llm_query", "needs_answers", "rlm_answer"))
        yield started
    finally:
        started.kill()


def test_a_client_is_told_nothing_of_questions(client: LineClient) -> None:
    """Neither in the list of tools, but for the one that answers, nor when a session is opened, nor of a step."""
    tools = {tool["name"]: tool["description"] for tool in client.request("tools/list")["result"]["tools"]}
    assert not any("subcalls" in told for name, told in tools.items() if name not in ("rlm_answer", "rlm_get_trace"))
    opened = client.data("rlm_init_context", context_text="x", max_subcalls=5)
    assert not opened.keys() & {"subcalls"}
    assert not opened["config"].keys() & {"max_subcalls", "subcall_tokens_limit", "wait_limit_ms"}
    assert not opened["namespace"].keys() & set(ASKING)
    step = client.run(opened["session_id"], "1")
    assert not step.keys() & {"subcalls", "questions"}
    assert set(step["budget"]) == {"steps_left", "runtime_left_ms", "chars_left"}


def test_code_that_asks_is_told_at_once_that_nobody_answers(client: LineClient) -> None:
    """As an exception that it can catch, and the names stay usable for a context."""
    session_id = client.open_session()
    failed = client.run(session_id, "llm_query('q')")
    assert (failed["status"], failed["error"]["ename"]) == ("error", "SubcallError")
    assert failed["error"]["evalue"].startswith("off: A step cannot ask a language model here")
    awaited = client.run(session_id, "await llm_query('q')")
    assert awaited["error"]["evalue"] == failed["error"]["evalue"]
    assert client.run(session_id, "try: budget()\nexcept SubcallError as e: print(e.code)")["stdout"] == "off\n"
    opened = client.data("rlm_init_context", context_text="x", context_name="budget")
    assert client.run(opened["session_id"], "budget")["result"] == "'x'"


def test_the_call_that_answers_is_refused_and_costs_nothing(client: LineClient) -> None:
    """The tool is there all the same: a session may be another client's, and the list of tools is what it is."""
    session_id = client.open_session()
    client.run(session_id, "x = 1")
    before = client.run(session_id, "x")["budget"]["chars_left"]
    told = client.error("rlm_answer", session_id=session_id, answers=[{"id": 10_001, "text": "a"}])
    assert told["code"] == "INVALID_INPUT"
    assert told["message"].startswith("What the code of this session asks is not answered by rlm_answer")
    assert client.run(session_id, "x")["budget"]["chars_left"] == before - 2  # code and result
