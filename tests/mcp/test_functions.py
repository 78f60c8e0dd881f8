"""Functions that a client offers, as they stand on the wire: its own code's calls come to it, and it runs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.mcp.line_client import LineClient, text_of

FUNCTIONS = [{"name": "find", "description": "find(what) finds it"}, {"name": "save"}]
TOGETHER = """\
import asyncio
got = await asyncio.gather(host_call_async('find', what='a', n=1), host_call_async('save'), return_exceptions=True)
[str(one) for one in got]"""


@pytest.fixture(scope="module")
def without_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """A server whose sessions ask no model."""
    client = LineClient(tmp_path_factory.mktemp("without"), {"RLM_SUBCALL_BACKEND": "none"})
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


@pytest.fixture(scope="module")
def with_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LineClient]:
    """A server whose sessions' questions go to their agent."""
    client = LineClient(tmp_path_factory.mktemp("agent"), {"RLM_SUBCALL_BACKEND": "agent"})
    try:
        client.initialize()
        yield client
    finally:
        client.kill()


def opened(client: LineClient, **more: Any) -> dict[str, Any]:
    return client.data("rlm_init_context", context_text="x", host_functions=FUNCTIONS, **more)


def test_what_is_offered_is_told_when_a_session_is_opened(without_models: LineClient) -> None:
    """With the names that call; those that ask a model are told of only where one answers."""
    data = opened(without_models)
    assert data["host_functions"] == [{"name": "find", "description": "find(what) finds it"},
                                      {"name": "save", "description": ""}]  # fmt: skip
    assert {"host_call", "host_call_async", "HostCallError"} <= data["namespace"].keys()
    assert "llm_query" not in data["namespace"]
    plain = without_models.data("rlm_init_context", context_text="x")
    assert "host_functions" not in plain
    assert "host_call" not in plain["namespace"]


def test_a_step_that_calls_needs_answers_and_goes_on_with_them(without_models: LineClient) -> None:
    """Also where no model is asked. What was not taken of the answers is told, and an error is an exception."""
    session_id = opened(without_models)["session_id"]
    asks = without_models.run(session_id, TOGETHER)
    while asks["questions"]["waiting"] < 2:  # the first page may come between
        asks = without_models.data("rlm_answer", session_id=session_id)
    assert asks["status"] == "needs_answers"
    assert asks["questions"] == {
        "items": [
            {"id": 10_001, "kind": "function", "name": "find", "args": {"what": "a", "n": 1}, "total_chars": 22},
            {"id": 10_002, "kind": "function", "name": "save", "args": {}, "total_chars": 6},
        ],
        "waiting": 2,
        "leased": 0,
        "delegate": None,
    }
    part = without_models.data("rlm_get_var", session_id=session_id, var_name="question:10001")
    assert part["value"] == 'find\n\n{"what":"a","n":1}'
    taken = without_models.data("rlm_answer", session_id=session_id, take=5)
    assert (taken["status"], "questions" in taken) == ("running", False)
    wrong = [{"id": 10_002, "text": "null"}, {"id": 10_001, "text": "found it"}]
    error = without_models.error("rlm_answer", session_id=session_id, answers=wrong)
    assert error["message"].startswith("answers[1] answers a call of a function, and its text is no JSON")
    right = [
        {"id": 10_001, "text": '["found", 1]'},
        {"id": 10_002, "error": "the disk is full"},
        {"id": 7, "text": "x"},
    ]
    done = without_models.data("rlm_answer", session_id=session_id, answers=right)
    assert (done["status"], done["rejected"]) == ("ok", [7])
    assert done["result"] == "[\"['found', 1]\", 'the disk is full']"
    trace = without_models.data("rlm_get_trace", session_id=session_id, detail="full")
    (event,) = [event for event in trace["events"] if event["action"] == "subcalls"]
    assert event["summary"] == "2 function calls: 1 answered, 1 declined"
    rows = [json.loads(line) for line in event["stdout"].splitlines()]
    assert [(row["kind"], row["prompt"], row["text"]) for row in rows] == [
        ("function", "find", '{"what":"a","n":1}'),
        ("function", "save", "{}"),
    ]
    assert "subcalls" not in event["guardrail_snapshot"]


def test_calls_and_questions_come_on_one_page_and_calls_come_first(with_agent: LineClient) -> None:
    """Who takes some is given the questions alone; a call costs nothing of the limits of questions."""
    session_id = opened(with_agent)["session_id"]
    code = "import asyncio\nasks = [llm_query_async(f'q{n}') for n in range(30)]\n"
    asks = with_agent.run(session_id, f"{code}got = await asyncio.gather(*asks, host_call_async('save'))\ngot[-2:]")
    while asks["questions"]["waiting"] < 31:  # the first page may come between
        asks = with_agent.data("rlm_answer", session_id=session_id)
    page = asks["questions"]
    assert (page["items"][0]["name"], page["items"][1]["prompt"]) == ("save", "q0")
    taken = with_agent.data("rlm_answer", session_id=session_id, take=100)
    assert (len(taken["questions"]["items"]), {"kind"} & taken["questions"]["items"][0].keys()) == (30, set())
    answers = [{"id": item["id"], "text": item["prompt"].upper()} for item in taken["questions"]["items"]]
    answers.append({"id": page["items"][0]["id"], "text": "5"})
    done = with_agent.data("rlm_answer", session_id=session_id, answers=answers)
    assert (done["result"], done["subcalls"]["asked"], done["budget"]["subcalls_left"]) == ("['Q29', 5]", 30, 170)


def test_in_markdown_a_call_stands_in_a_fence(with_agent: LineClient) -> None:
    session_id = opened(with_agent)["session_id"]
    code = "host_call('find', what='``` end')"
    asks = with_agent.call("rlm_run_repl", session_id=session_id, code=code, response_format="markdown")
    assert 'Call 10001 of the function `find`, with:\n````json\n{"what":"``` end"}\n````' in text_of(asks)
    with_agent.data("rlm_answer", session_id=session_id, answers=[{"id": 10_001, "text": "1"}])


def test_wrong_functions_open_no_session(without_models: LineClient) -> None:
    wrong = [{"name": "find"}, {"name": "two words"}]
    error = without_models.error("rlm_init_context", context_text="x", host_functions=wrong)
    assert error["message"].startswith("host_functions[1] name must be one Python identifier")
    error = without_models.error(
        "rlm_init_context", context_text="x", context_name="host_call", host_functions=FUNCTIONS
    )
    assert error["message"].startswith("context_name must be a name that means nothing else")
