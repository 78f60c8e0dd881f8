"""`rlm_answer`, as it stands on the wire: an agent answers what its own code asks, as is the default."""

from __future__ import annotations

from typing import Any

import pytest

from rlm_kernel_mcp.session.boards.agents import AGENT as AGENT_FACTS
from tests.mcp.line_client import LineClient, text_of


@pytest.fixture(scope="module")
def client(workers_client: LineClient) -> LineClient:
    """The worker's server, of a client whose user has set nothing."""
    return workers_client


def answered(client: LineClient, data: dict[str, Any], session_id: str, **options: Any) -> dict[str, Any]:
    """The next answer, after each question on a page was answered by its prompt in capitals."""
    given = [{"id": item["id"], "text": item["prompt"].upper()} for item in data["questions"]["items"]]
    return client.data("rlm_answer", session_id=session_id, answers=given, **options)


def test_who_answers_is_told_when_a_session_is_opened(client: LineClient) -> None:
    """With the limits that hold; nothing leaves the kernel but to the agent, so the hints stay."""
    opened = client.data("rlm_init_context", context_text="x", max_subcalls=100_000)
    assert opened["subcalls"] == {
        "backend": "agent",
        "model": None,
        "where": "this agent",
        "parallel": 200,
        "depth": 1,
        "limits": {"max_subcalls": 200, "subcall_tokens_limit": 2_000_000, "wait_limit_ms": 1_800_000},
        "how": AGENT_FACTS.how,
    }
    assert opened["config"]["max_subcalls"] == 200
    assert opened["namespace"]["rlm_query"].endswith("-> as llm_query here: no session of its own")
    assert not any(tool["annotations"]["openWorldHint"] for tool in client.request("tools/list")["result"]["tools"])


def test_a_step_that_asks_needs_answers_and_goes_on_with_them(client: LineClient) -> None:
    """By `rlm_answer` the same report comes as by `rlm_run_repl`, and what was not taken of the answers."""
    session_id = client.open_session()
    asks = client.run(session_id, "print('first')\nllm_query_batched(['a', 'b'], ['one', 'two'])")
    # What was printed comes by another socket than the questions, and may come after them.
    assert (asks["status"], asks["result"], asks["guardrail_stop"]) == ("needs_answers", None, None)
    assert "rejected" not in asks
    assert asks["subcalls"]["asked"] == 2
    page = asks["questions"]
    assert page == {
        "items": [
            {"id": 10_001, "prompt": "a", "text": "one", "total_chars": 4},
            {"id": 10_002, "prompt": "b", "text": "two", "total_chars": 4},
        ],
        "waiting": 2,
        "leased": 0,
        "delegate": None,
    }
    again = "The questions were shown before, and go on waiting: answer them by rlm_answer."
    assert again not in asks.get("note", "")
    waited = client.data("rlm_await_step", session_id=session_id, step_index=1)
    assert waited["questions"] == page
    assert again in waited["note"]
    waits = {row["session_id"]: row.get("waits_for_answers") for row in client.data("rlm_list_sessions")["sessions"]}
    assert waits[session_id] == 2
    told = text_of(client.call("rlm_list_sessions", response_format="markdown"))
    assert f"- `{session_id}`: running, waits for 2 answers; " in told
    assert client.data("rlm_answer", session_id=session_id)["questions"] == page
    half = client.data(
        "rlm_answer", session_id=session_id, answers=[{"id": 10_002, "text": "B"}, {"id": 5, "text": "x"}]
    )
    assert (half["status"], half["rejected"], half["questions"]["waiting"]) == ("needs_answers", [5], 1)
    assert half["stdout"] == ""
    done = answered(client, half, session_id)
    assert (done["status"], done["result"], done["stdout"], done["rejected"]) == ("ok", "['A', 'B']", "first\n", [])
    assert "questions" not in done
    assert done["budget"]["subcalls_left"] == 198
    assert done["step_index"] == 1
    listed = client.data("rlm_list_sessions")["sessions"]
    (row,) = [row for row in listed if row["session_id"] == session_id]
    assert (row["step_index"], row.get("waits_for_answers")) == (1, None)


def test_who_takes_some_of_many_questions_is_shown_them_alone(client: LineClient) -> None:
    """And never gets the output."""
    session_id = client.open_session()
    client.run(session_id, "print('x' * 5000)\nlen(llm_query_batched([f'q{n}' for n in range(30)]))")
    taken = client.data("rlm_answer", session_id=session_id, take=20)
    assert (len(taken["questions"]["items"]), taken["questions"]["waiting"], taken["questions"]["leased"]) == (
        20,
        10,
        20,
    )
    assert (taken["stdout"], taken["questions"]["delegate"]) == ("", None)
    rest = answered(client, taken, session_id, take=20)
    assert (rest["status"], len(rest["questions"]["items"])) == ("needs_answers", 10)
    last = answered(client, rest, session_id, take=20)
    assert last["status"] != "needs_answers"
    assert (last["stdout"], last["result"], last["rejected"]) == ("", None, [])
    done = client.data("rlm_await_step", session_id=session_id, step_index=1)
    assert (done["status"], done["result"]) == ("ok", "30")


def test_a_long_question_is_cut_on_its_page_and_read_by_its_name(client: LineClient) -> None:
    session_id = client.open_session()
    asks = client.run(session_id, "llm_query('q', 'y' * 30_000)", max_output_chars=1_000)
    (item,) = asks["questions"]["items"]
    assert item["cut"] is True
    assert item["total_chars"] == 30_001
    assert len(item["text"]) < 1_000
    name = f"question:{item['id']}"
    part = client.data("rlm_get_var", session_id=session_id, var_name=name, limit=200_000)
    assert part["value"] == "q\n\n" + "y" * 30_000
    assert (part["name"], part["text"], part["next_offset"]) == (name, True, None)
    done = answered(client, asks, session_id)
    assert done["result"] == "'Q'"
    assert client.error("rlm_get_var", session_id=session_id, var_name=name)["code"] == "VARIABLE_NOT_FOUND"


def test_in_markdown_questions_stand_in_fences(client: LineClient) -> None:
    session_id = client.open_session()
    result = client.call(
        "rlm_run_repl", session_id=session_id, code="llm_query('a ``` b', 'c', schema=int)", response_format="markdown"
    )
    text = text_of(result)
    assert text.startswith("Step 1: its code asks the questions below; answer them with rlm_answer.")
    assert "Question 10001 (8 characters with its text):\n````\na ``` b\n````" in text
    assert "Its text:\n```\nc\n```" in text
    assert 'Its answer is to be JSON of this schema:\n```json\n{"type":"integer"}\n```' in text
    done = client.call(
        "rlm_answer",
        session_id=session_id,
        answers=[{"id": 10_001, "text": "7"}, {"id": 4, "text": ""}],
        response_format="markdown",
    )
    assert "Nobody waited for the answers to these questions: 4." in text_of(done)
    assert "7" in text_of(done)
