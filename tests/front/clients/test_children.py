"""A sub-agent works in a child session over a connection of its own to the same host."""

from __future__ import annotations

import re

import pytest

from tests.front.clients.test_answers import initialized
from tests.front.hosts import Hosts

pytestmark = pytest.mark.slow


def test_a_child_is_worked_in_over_a_second_connection(hosts: Hosts) -> None:
    driver, helper = (initialized(hosts, name, RLM_SUBCALL_DEPTH="2") for name in ("driver", "helper"))
    session_id = driver.open_session()
    asks = driver.run(session_id, "rlm_query('Which word is last?', 'one two three')")
    assert asks["status"] == "needs_answers"
    taken = helper.data("rlm_answer", session_id=session_id, take=20)
    (item,) = taken["questions"]["items"]
    assert item["kind"] == "rlm"
    found = re.search(r"s_[a-z0-9]{8}", item["prompt"])
    assert found is not None
    assert helper.run(found[0], "context.split()[-1]")["result"] == "'three'"
    helper.data("rlm_finalize", session_id=found[0], final_text="three")
    done = driver.data("rlm_await_step", session_id=session_id, step_index=1)
    assert (done["status"], done["result"]) == ("ok", "'three'")
    listed = helper.data("rlm_list_sessions", state="all")["sessions"]
    assert {(one["session_id"], one.get("parent"), one.get("depth")) for one in listed} == {
        (session_id, None, None),
        (found[0], session_id, 1),
    }
