"""The real Codex answers what its own code asks: itself, in both of its modes, or by sub-agents that it starts."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from tests.codex.codex_exec import CodexRun, run_codex
from tests.codex.scripted_model import Item, Request, Script, call, function, javascript, results_of, told
from tests.codex.test_codex_drives_a_session import CODE_MODE, UNKNOWN_TO_THE_CATALOG
from tests.front.hosts import Hosts
from tests.mcp.line_client import WAIT_S

pytestmark = [pytest.mark.codex, pytest.mark.slow]

ROWS: Final = 200
TEXT: Final = "".join(
    f"ticket {n}: the item arrived {'broken' if n % 3 == 0 else 'fine'}. {'filler words here. ' * 12}\n"
    for n in range(ROWS)
)
ASK: Final = """
got = llm_query_batched('Broken or fine? One word.', context.splitlines()[:__N__])
got.count('broken'), got.count('fine')
"""
AGENTS: Final = ("FIRST-OF-TWO", "SECOND-OF-TWO")
MODES: Final = {"direct calls": UNKNOWN_TO_THE_CATALOG, "code mode": CODE_MODE}
NOTHING: Final[Mapping[str, str]] = {}
Answer = dict[str, Any]


def tool(model: str, name: str, arguments: dict[str, object]) -> Item:
    """A call of one of our tools, in a model's mode."""
    if model != CODE_MODE:
        return call(name, arguments)
    return javascript(
        f"text(JSON.stringify((await tools.mcp__rlm__{name}({json.dumps(arguments)})).structuredContent))"
    )


def ask(model: str, name: str, arguments: dict[str, object]) -> Generator[list[Item], Request, Answer]:
    """The `data` of one call."""
    request = yield [tool(model, name, arguments)]
    answer: Answer = json.loads(results_of(request)[0])
    assert answer["ok"], answer
    data: Answer = answer["data"]
    return data


def answers_of(page: Answer) -> list[object]:
    """What a model would say of each question of a page."""
    broken = {item["id"]: "arrived broken" in item["text"] for item in page["questions"]["items"]}
    return [{"id": number, "text": "broken" if is_broken else "fine"} for number, is_broken in broken.items()]


def result_for(count: int) -> str:
    broken = len(range(0, count, 3))
    return f"({broken}, {count - broken})"


def asking_step(model: str, count: int) -> Generator[list[Item], Request, tuple[str, Answer]]:
    opened = yield from ask(model, "rlm_init_context", {"context_paths": ["tickets.txt"]})
    session_id = opened["session_id"]
    code = ASK.replace("__N__", str(count))
    asks = yield from ask(model, "rlm_run_repl", {"session_id": session_id, "code": code})
    assert asks["status"] == "needs_answers"
    assert asks["questions"]["waiting"] == count
    return session_id, asks


def by_itself(model: str, count: int) -> Script:
    """An agent that answers page by page."""
    session_id, data = yield from asking_step(model, count)
    while data["status"] == "needs_answers":
        given: dict[str, object] = {"session_id": session_id, "answers": answers_of(data)}
        data = yield from ask(model, "rlm_answer", given)
        assert data["rejected"] == []
    return f"{data['status']}: {data['result']}"


def started(model: str, number: int, message: str) -> Item:
    """The call that starts a sub-agent."""
    if model == CODE_MODE:
        return function("collaboration", "spawn_agent", {"task_name": f"answers_{number}", "message": message})
    return function("multi_agent_v1", "spawn_agent", {"message": message})


def by_others(model: str, ended: list[threading.Event]) -> Script:
    """An agent that hands the message on, and reads what came of it."""
    session_id, asks = yield from asking_step(model, ROWS)
    for number, word in enumerate(AGENTS):
        message = f"{word}: {asks['questions']['delegate']}"
        yield [started(model, number, message)]
    for event in ended:  # as `wait_agent` does; here in the model, whose thread nobody else needs
        assert event.wait(WAIT_S), "a sub-agent has not ended"
    data = yield from ask(model, "rlm_await_step", {"session_id": session_id, "step_index": asks["step_index"]})
    return f"{data['status']}: {data['result']}"


def sub_agent(model: str, ended: threading.Event, counts: list[int]) -> Script:
    """Does what the message says, over its own connection to the host."""
    try:
        session_id, answers, count = "", list[object](), 0
        request = yield [tool(model, "rlm_list_sessions", {})]
        session_id = "s_" + told(request).partition("Session s_")[2][:8]
        while True:
            given: dict[str, object] = {"session_id": session_id, "answers": answers, "take": 20}
            data = yield from ask(model, "rlm_answer", given)
            assert data["rejected"] == []
            if data["status"] != "needs_answers":
                counts.append(count)
                return "all that I took is answered"
            answers = answers_of(data)
            count += len(answers)
    finally:
        ended.set()


def dying_agent(model: str, others: set[psutil.Process], taken: list[Answer]) -> Script:
    """Takes questions over a front of its own, which is killed before it answers. `others`: fronts of before."""
    request = yield [tool(model, "rlm_list_sessions", {})]
    session_id = "s_" + told(request).partition("Session s_")[2][:8]
    taken.append((yield from ask(model, "rlm_answer", {"session_id": session_id, "take": 20})))
    (own,) = fronts() - others
    own.kill()
    return "I have taken 20, and am gone"


def whose_agent_dies(model: str, own: set[psutil.Process], died: threading.Event) -> Script:
    """An agent that hands the message on to one that dies, and answers what comes back to it."""
    session_id, data = yield from asking_step(model, 2 * 20)
    own |= fronts()
    yield [started(model, 0, f"{AGENTS[0]}: {data['questions']['delegate']}")]
    assert died.wait(WAIT_S), "the sub-agent has not ended"
    step = {"session_id": session_id, "step_index": data["step_index"]}
    data = yield from ask(model, "rlm_await_step", step)
    while data["status"] in ("needs_answers", "running"):
        if data["status"] == "running":
            data = yield from ask(model, "rlm_await_step", step)
        else:
            given: dict[str, object] = {"session_id": session_id, "answers": answers_of(data)}
            data = yield from ask(model, "rlm_answer", given)
            assert data["rejected"] == []
    trace = yield from ask(model, "rlm_get_trace", {"session_id": session_id})
    (batch,) = [event for event in trace["events"] if event["action"] == "subcalls"]
    assert batch["summary"].startswith("40 questions: 40 answered;")
    assert data["subcalls"]["answered"] == 200 - data["budget"]["subcalls_left"] == 2 * 20
    return f"{data['status']}: {data['result']}"


def got_by(run: CodexRun, *, names: tuple[str, ...] = ()) -> int:
    """Characters of results that the first agent's model has in its window at the end."""
    requests = [one for one in run.requests if not any(name in told(one) for name in names)]
    outputs = [item["output"] for item in requests[-1]["input"] if item["type"].endswith("_call_output")]
    return len(json.dumps(outputs[1:]))  # less what opened the session


def fronts() -> set[psutil.Process]:
    """The fronts below this process: one for each agent of Codex that has used our tools."""
    found = set[psutil.Process]()
    for one in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "rlm_kernel_mcp" in " ".join(one.cmdline()):
                found.add(one)
    return found


def run(
    hosts: Hosts, directory: Path, script: Script, model: str, env: Mapping[str, str] = NOTHING, **options: Any
) -> CodexRun:
    directory.mkdir()
    return run_codex(script, directory, model=model, files={"tickets.txt": TEXT}, env={**hosts.env, **env}, **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [1, 20])
def test_codex_answers_its_code_s_questions_itself(tmp_path: Path, hosts: Hosts, mode: str, count: int) -> None:
    ended = run(hosts, tmp_path / "codex", by_itself(MODES[mode], count), MODES[mode])
    assert ended.last_message == f"ok: {result_for(count)}"


@pytest.mark.parametrize("mode", MODES)
def test_two_sub_agents_of_codex_answer_two_hundred_questions(tmp_path: Path, hosts: Hosts, mode: str) -> None:
    """Each question once; the agent's own window sees less than a tenth of what it would if it answered itself."""
    model, ended, counts = MODES[mode], [threading.Event(), threading.Event()], list[int]()
    agents = {word: sub_agent(model, event, counts) for word, event in zip(AGENTS, ended, strict=True)}
    parted = run(hosts, tmp_path / "parted", by_others(model, ended), model, agents=agents)
    assert parted.last_message == f"ok: {result_for(ROWS)}"
    assert sum(counts) == ROWS
    assert len(counts) == 2
    alone = run(hosts, tmp_path / "alone", by_itself(model, ROWS), model)
    assert alone.last_message == f"ok: {result_for(ROWS)}"
    assert got_by(parted, names=AGENTS) < 0.1 * got_by(alone)
    assert hosts.count() == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_sub_agent_that_dies_with_a_lease_costs_its_time_and_nothing_else(
    tmp_path: Path, hosts: Hosts, mode: str
) -> None:
    """What it took is shown again once that is over: each question is answered once, and none is lost."""
    model, died, taken, fronts_before = MODES[mode], threading.Event(), list[Answer](), set[psutil.Process]()

    def dies() -> Script:
        try:
            return (yield from dying_agent(model, fronts_before, taken))
        finally:
            died.set()

    env = {"RLM_SUBCALL_LEASE_S": "5"}
    agents = {AGENTS[0]: dies()}
    ended = run(hosts, tmp_path / "codex", whose_agent_dies(model, fronts_before, died), model, env=env, agents=agents)
    assert ended.last_message == f"ok: {result_for(2 * 20)}"
    assert [(len(one["questions"]["items"]), one["questions"]["leased"]) for one in taken] == [(20, 20)]
