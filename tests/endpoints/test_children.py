"""A child session in which an endpoint's model works by calls of tools, over both protocols."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.registry import Registry
from tests.endpoints.aside import KEY
from tests.endpoints.endpoint import Call, Endpoint, Fault, Seen, answers, says
from tests.sessions import SessionDriver, end_session, open_registry, until

pytestmark = pytest.mark.anyio
ASK: Final = (
    "try:\n    print(rlm_query('Which word is last?', 'one two three'))\nexcept SubcallError as e:\n    print(e)"
)


def run(code: str) -> list[Call]:
    return [("run_python", json.dumps({"code": code}))]


def final(**given: str) -> list[Call]:
    return [("final", json.dumps(given))]


class Script:
    """What the model says in each turn; other questions are echoed."""

    def __init__(self, *turns: str | Sequence[Call]) -> None:
        self._turns = list(turns)
        self.seen = list[Seen]()

    def __call__(self, seen: Seen) -> str | Sequence[Call]:
        if not seen.tools:
            return "echo of " + seen.user.partition("\n")[0]
        self.seen.append(seen)
        return self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]


@asynccontextmanager
async def asking(state_dir: Path, endpoint: Endpoint, **environ: str) -> AsyncIterator[Registry]:
    variables: dict[str, Any] = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "m", "RLM_SUBCALL_DEPTH": "2"}
    variables |= {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": endpoint.url, **environ}
    async with open_registry(state_dir, **variables) as registry:
        yield registry


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_model_looks_at_the_text_by_code_and_its_final_answer_is_the_answer(tmp_path: Path, api: str) -> None:
    """Its turns, its steps and what its code asks stand in the child's trace, and are charged to the parent too."""
    async with Endpoint() as endpoint, asking(tmp_path, endpoint, RLM_SUBCALL_API=api) as registry:
        script = endpoint.reply = Script(
            run("words = context.split()\nprint(len(words))"),
            run("last = words[-1]\nllm_query('is it?', last)"),
            final(variable="last"),
        )
        session = await SessionDriver.open(registry, "alpha\n")
        report = await session.ok(ASK)
        assert report.stdout == "three\n"
        first, second, third = script.seen
        assert first.tools == ["run_python", "final"]
        assert first.user.startswith("`context` has 13 characters. You have 20 turns.\n\nQuestion: Which word is last?")
        assert second.user.startswith("stdout:\n3\n")
        assert third.user.startswith("result:\n'echo of is it?'")
        assert report.subcalls is not None
        assert (report.subcalls.asked, report.subcalls.answered) == (1, 1)
        assert (report.subcalls.tokens_in, report.subcalls.tokens_out) == (40, 12)
        used = session.session.account
        assert (used.subcalls.calls, used.subcalls.tokens, used.child_steps) == (5, 52, 2)
        await registry.complete_trace(session.session_id, None, None)
        (row,) = registry.store.subcalls.rows(session.session_id)
        assert (row.kind, row.depth, row.tokens_in, row.error_code) == ("rlm", 1, 40, None)
        assert row.child_session is not None
        await registry.complete_trace(row.child_session, None, None)
        assert registry.store.subcalls.totals(session.session_id)[:2] == (5, 52)
        kinds = [(one.kind, one.depth) for one in registry.store.subcalls.rows(row.child_session)]
        assert kinds == [("turn", 1), ("turn", 1), ("llm", 2), ("turn", 1)]
        child = SessionDriver(registry, row.child_session)
        steps = [event.code for event in await child.trace() if event.action == "run_repl"]
        assert steps == ["words = context.split()\nprint(len(words))", "last = words[-1]\nllm_query('is it?', last)"]
        await end_session(session)


WRONG: Final[Sequence[tuple[Sequence[str | Sequence[Call]], str]]] = (
    (
        [[("run_python", "{code: 1}")]],
        "backend: The child session's model called no tool as it is, 3 times in a row: The",
    ),
    ([[("run_python", "[1]")]], "3 times in a row: The arguments are no JSON object."),
    ([[("run_python", '{"code": 1}')]], "3 times in a row: run_python needs `code`, a str."),
    ([[("open_url", "{}")]], "3 times in a row: There is no tool 'open_url': call run_python or final."),
    ([[("final", '{"answer": "three"}')]], "3 times in a row: final needs either"),
    ([[("final", '{"text": null, "variable": ""}')]], "3 times in a row: final needs either"),
    ([[("final", "{}")]], "3 times in a row: final needs either `text` or `variable`, a str."),
    ([[("final", '{"text": "a", "variable": "b"}')]], "3 times in a row: final needs either"),
    (["It is three."], "3 times in a row: Call run_python or final: nothing else is read."),
    ([final(variable="nothing_of_it")], "3 times in a row: VARIABLE_NOT_FOUND: "),
    ([run("1")], "too_many: The child session's model had 20 turns and gave no final answer."),
)


async def test_a_model_that_calls_wrongly_or_for_ever_ends_with_a_clear_word(tmp_path: Path) -> None:
    """What is wrong it is told, and may do better; its child ends in any case."""
    async with Endpoint() as endpoint, asking(tmp_path, endpoint) as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        for turns, why in WRONG:
            endpoint.reply = Script(*turns)
            report = await session.ok(ASK)
            assert why in report.stdout, (turns, report.stdout)
        endpoint.reply = Script([("final", "{}")], "three", run("1/0"), final(text="three"))
        assert (await session.ok(ASK)).stdout == "three\n"
        children = [one for one in registry.handles.sessions.values() if one.account.parent_id]
        assert children == []
        await end_session(session)


async def test_a_fault_of_the_endpoint_in_the_middle_ends_the_child_with_its_code(tmp_path: Path) -> None:
    """One that passes is tried again as for any question; nothing is asked after the others."""
    async with Endpoint() as endpoint, asking(tmp_path, endpoint, RLM_SUBCALL_API="chat") as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        for fault, word in (
            (
                says(400, {"error": {"message": "no such"}}),
                "backend: In turn 2 of the child session: The endpoint does",
            ),
            (says(413), "too_large: In turn 2 of the child session: The question is too long for the model"),
            (
                answers(choices=[{"message": {"tool_calls": [{"id": 1}]}}]),
                "backend: In turn 2 of the child session: The",
            ),
            (answers(choices=[{"message": {"content": "x"}, "finish_reason": "length"}]), "too_large: In turn 2"),
            (says(500, retry_after="0"), "three"),
        ):
            script = Script(run("1"), final(text="three"))

            def reply(seen: Seen, script: Script = script, fault: Fault = fault) -> str | Sequence[Call]:
                if not script.seen:
                    endpoint.faults.append(fault)  # of the next request
                return script(seen)

            endpoint.reply = reply
            assert word in (await session.ok(ASK)).stdout
        await end_session(session)


async def test_children_of_an_endpoint_work_side_by_side_and_end_with_an_interrupt(tmp_path: Path) -> None:
    """Four at a time; what is under way at the endpoint is given up."""
    async with Endpoint() as endpoint, asking(tmp_path, endpoint) as registry:
        endpoint.reply = lambda seen: final(text="found")
        endpoint.held = lambda seen: True
        session = await SessionDriver.open(registry, "alpha\n")
        await session.begin("rlm_query_batched('q', list('abcdef'))")
        await until(lambda: len(endpoint.seen) == 4)
        report = await session.interrupt()
        assert report.status == "interrupted"
        assert report.subcalls is not None
        assert report.subcalls.failed == {"stopped": 6}
        await until(lambda: len(endpoint.abandoned) == 4)
        await until(lambda: len(registry.handles.sessions) == 1)
        endpoint.held = lambda seen: False
        assert (await session.ok("rlm_query_batched('q', list('abcdef'))")).result == str(["found"] * 6)
        await end_session(session)


async def test_a_child_of_a_child_has_a_kernel_too_and_the_last_one_asks_a_model(tmp_path: Path) -> None:
    """Three levels; what the lowest uses is used by all above it."""
    async with Endpoint() as endpoint, asking(tmp_path, endpoint, RLM_SUBCALL_DEPTH="3") as registry:

        def reply(seen: Seen) -> str | Sequence[Call]:
            if not seen.tools:
                return "leaf"
            said = json.dumps(seen.body)
            if "got = rlm_query" in said:
                return final(variable="got")
            return run(f"got = rlm_query('{'mid' if 'Question: top' in said else 'low'}', context)")

        endpoint.reply = reply
        session = await SessionDriver.open(registry, "alpha\n")
        report = await session.ok("rlm_query('top', 'abc'), budget().depth, budget().subcalls")
        assert report.result == "('leaf', 3, 993)"
        await registry.complete_trace(session.session_id, None, None)
        sessions = {one.session_id: one for one in registry.store.sessions()}
        (child,) = (one for one in sessions.values() if one.depth == 1)
        (below,) = (one for one in sessions.values() if one.depth == 2)
        assert (child.parent, below.parent) == (session.session_id, child.session_id)
        calls = [registry.store.subcalls.totals(one)[0] for one in (session.session_id, child.session_id)]
        assert calls == [7, 6]
        await end_session(session)
