"""Questions of one client's step are answered over another's connection to the host, and nowhere else."""

from __future__ import annotations

import pytest

from tests.front.hosts import Hosts
from tests.mcp.line_client import LineClient

pytestmark = pytest.mark.slow

AGENT = {"RLM_SUBCALL_BACKEND": "agent"}


def initialized(hosts: Hosts, name: str, **env: str) -> LineClient:
    client = hosts.client(name, env=AGENT | env)
    client.initialize()
    return client


def test_a_sub_agent_s_own_front_takes_questions_and_answers_them(hosts: Hosts) -> None:
    """The trace says who answered; the driver gets the step's end."""
    driver, helper = initialized(hosts, "driver"), initialized(hosts, "helper")
    session_id = driver.open_session()
    asks = driver.run(session_id, "sorted(llm_query_batched([f'q{n}' for n in range(30)]))[:2]")
    assert asks["questions"]["waiting"] == 30
    assert asks["questions"]["delegate"].startswith(f"Session {session_id}: call rlm_answer with take=20")
    answers: list[dict[str, object]] = []
    while True:
        taken = helper.data("rlm_answer", session_id=session_id, answers=answers, take=20)
        if taken["status"] != "needs_answers":
            break
        answers = [{"id": item["id"], "text": item["prompt"].upper()} for item in taken["questions"]["items"]]
    done = driver.data("rlm_await_step", session_id=session_id, step_index=1)
    assert (done["status"], done["result"]) == ("ok", "['Q0', 'Q1']")
    trace = driver.data("rlm_get_trace", session_id=session_id, detail="full", max_output_chars=100_000)
    (batch,) = [event["stdout"] for event in trace["events"] if event["action"] == "subcalls"]
    assert batch.count('"answered_by": "agent:client 2"') == 30


def test_a_server_of_its_own_cannot_answer_for_a_host(hosts: Hosts) -> None:
    """It is told where to: the step goes on waiting, and is answered there."""
    driver, alone = initialized(hosts, "driver"), initialized(hosts, "alone", RLM_HOST="off")
    session_id = driver.open_session()
    asks = driver.run(session_id, "llm_query('q')")
    (item,) = asks["questions"]["items"]
    answers = [{"id": item["id"], "text": "a"}]
    many = alone.run(alone.open_session(), "llm_query_batched([f'q{n}' for n in range(30)])")
    assert (many["status"], many["questions"]["delegate"]) == ("needs_answers", None), "so no sub-agent is sent for it"
    error = alone.error("rlm_answer", session_id=session_id, answers=answers)
    assert error["code"] == "SESSION_BUSY"
    assert error["next_step"].startswith("Answer where the session is driven.")
    assert driver.data("rlm_answer", session_id=session_id, answers=answers)["result"] == "'a'"


def test_a_client_without_the_setting_answers_for_one_that_has_it(hosts: Hosts) -> None:
    """A session belongs to its handle."""
    driver, other = initialized(hosts, "driver"), initialized(hosts, "other", RLM_SUBCALL_BACKEND="none")
    session_id = driver.open_session()
    driver.run(session_id, "llm_query('q')")
    taken = other.data("rlm_answer", session_id=session_id, take=1)
    (item,) = taken["questions"]["items"]
    other.data("rlm_answer", session_id=session_id, answers=[{"id": item["id"], "text": "a"}], take=1)
    assert driver.data("rlm_await_step", session_id=session_id, step_index=1)["result"] == "'a'"


def test_a_driver_s_own_functions_are_its_own_to_call(hosts: Hosts) -> None:
    """A sub-agent that takes questions gets no call; whoever drives the session answers it, from whichever front."""
    driver, helper = initialized(hosts, "driver"), initialized(hosts, "helper", RLM_SUBCALL_BACKEND="none")
    opened = driver.data("rlm_init_context", context_text="x", host_functions=[{"name": "find", "description": "d"}])
    session_id = opened["session_id"]
    asks = driver.run(session_id, "host_call('find', what='tea')")
    (item,) = asks["questions"]["items"]
    assert (item["kind"], item["name"], item["args"]) == ("function", "find", {"what": "tea"})
    assert helper.data("rlm_answer", session_id=session_id, take=20)["status"] == "running"
    answers = [{"id": item["id"], "text": '{"price": 3}'}]
    assert helper.data("rlm_answer", session_id=session_id, answers=answers)["result"] == "{'price': 3}"
