"""What the record has of an event beside its texts: what a person needs to see why a run went as it did."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlm_kernel_mcp.errors import CitationMismatch, VariableNotFound
from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.server.pages.facts import told
from rlm_kernel_mcp.session.calls import limits
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.reports import Guardrails, LossReport
from rlm_kernel_mcp.session.trace.facts import (
    CITATIONS_CHARS,
    FACTS,
    NAMES_MAX,
    ROOM_MIN,
    facts_of,
    loss_facts,
    refusal_facts,
    with_facts,
)
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from tests.fake_kernel import DIES, FOREVER, Fakes
from tests.sessions import SessionDriver, end_session


async def events(session: SessionDriver, action: str) -> list[TraceEvent]:
    return [event for event in await session.trace() if event.action == action]


@pytest.mark.anyio
async def test_a_limit_that_is_reached_and_the_step_that_it_refuses_are_events(fakes: Fakes) -> None:
    """Else a trace ends at the last good step, and nobody knows when and for what the session was stopped."""
    session = await SessionDriver.open(fakes.registry, limits=Guardrails(max_steps=1))
    await session.ok("x = 1")
    assert (await session.run("x + 1")).status == "stopped"
    (step, stop, refused) = (await session.trace())[1:]
    assert [one.action for one in (step, stop, refused)] == ["run_repl", "stop", "refused"]
    assert (stop.step_index, stop.result_status, stop.facts) == (1, "max_steps", {"limit": "max_steps"})
    assert (refused.result_status, refused.summary) == ("stopped", "x + 1")
    assert refused.facts == {"limit": "max_steps", "code_chars": 5}
    assert "not run, 5 characters of code: the limit max_steps is reached" in markdown.event(refused)


@pytest.mark.anyio
async def test_a_limit_is_written_down_once_also_by_the_server_that_goes_on_with_the_session(fakes: Fakes) -> None:
    session = await SessionDriver.open(fakes.registry, limits=Guardrails(max_steps=1))
    await session.ok("1")
    await end_session(session)
    assert (await session.run("2")).status == "stopped"
    assert [one.action for one in await session.trace()].count("stop") == 1


@pytest.mark.anyio
async def test_only_so_many_refused_calls_are_kept(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing keeps a client from asking on."""
    monkeypatch.setattr(limits, "REFUSED_MAX", 2)
    session = await SessionDriver.open(fakes.registry, limits=Guardrails(max_steps=1))
    await session.ok("1")
    for _ in range(4):
        await session.run("2")
    assert len(await events(session, "refused")) == 2


@pytest.mark.anyio
async def test_an_answer_whose_citations_failed_is_an_event_and_other_errors_are_none(fakes: Fakes) -> None:
    """The failed citations are in no final answer: without this nobody sees what was tried."""
    session, _ = await fakes.open("the quick brown fox jumps over the dog")
    with pytest.raises(VariableNotFound):
        await session.value("nothing")
    with pytest.raises(CitationMismatch):
        await session.finalize(text="so it says", quotes=[Quote("the quick brown cat jumps over")])
    (refused,) = await events(session, "refused")
    assert (refused.result_status, refused.facts["error_code"]) == ("CITATION_MISMATCH", "CITATION_MISMATCH")
    (failed,) = refused.facts["citations"]
    assert (failed["id"], failed["text"]) == ("q1", "the quick brown cat jumps over")
    assert "- q1: " in markdown.event(refused)


@pytest.mark.anyio
async def test_a_restore_has_the_names_that_are_gone_and_those_that_are_back(fakes: Fakes) -> None:
    """Not only how many."""
    session, _ = await fakes.open()
    await session.ok("x = 1")
    report = await session.run(DIES)
    assert report.lost is not None
    (restore,) = await events(session, "restore")
    assert set(restore.facts["restored"]) == set(report.lost.restored)
    assert [(one["name"], one["why"]) for one in restore.facts.get("lost", ())] == list(report.lost.names)
    assert "- restored: " in markdown.event(restore)


@pytest.mark.anyio
async def test_an_interrupt_has_its_rung_and_its_cause(fakes: Fakes) -> None:
    """A time limit, and somebody who asked: as fields, so that nobody has to read prose."""
    session, deaf = await fakes.open()
    deaf.deaf = {"SIGINT"}
    await session.run(FOREVER, timeout_ms=1)
    found = [(one.facts["rung"], one.facts["cause"]) for one in await events(session, "interrupt")]
    assert found == [("sigint", "timeout_ms"), ("sigint", "timeout_ms"), ("sigkill", "timeout_ms")]
    await session.begin(FOREVER)
    await session.until_printed("begun")
    await session.interrupt()
    assert (await events(session, "interrupt"))[-1].facts == {"rung": "sigint", "cause": "interrupt"}


@pytest.mark.anyio
async def test_a_step_has_what_it_printed_what_was_delivered_of_that_and_what_it_cost(fakes: Fakes) -> None:
    """A trace that tells only what was printed says nothing of what the model has read."""
    session, _ = await fakes.open()
    code = "'x' * 1_000"
    report = await session.run(code, max_output_chars=200)
    (step,) = await events(session, "run_repl")
    assert step.facts["printed"] == {"result": 1_002}
    assert step.facts["delivered"] == len(report.result or "") <= 200
    assert step.facts["cost"] == len(code) + len(report.result or "") == session.session.counters.budget_used
    await session.end_of(1, max_output_chars=100)
    (again,) = await events(session, "run_repl")
    assert again.facts["cost"] == session.session.counters.budget_used
    assert list(fakes.registry.store.faults()) == []


def test_what_a_row_has_of_facts_is_bounded_and_safe() -> None:
    """They lie beside the small columns, which each reading takes; and a kernel's code chose the names."""
    rows = tuple((f"n{number}\x1b" * 100, "why\u202e" * 100) for number in range(10_000))
    facts = loss_facts(LossReport("killed", rows, tuple(name for name, _ in rows)))
    assert (len(facts["lost"]), facts["more_lost"]) == (NAMES_MAX, 10_000 - NAMES_MAX)
    extra = json.loads(with_facts(None, facts))
    shown = facts_of(extra)
    assert "\x1b" not in json.dumps(shown, ensure_ascii=False)
    assert "\u202e" not in json.dumps(shown, ensure_ascii=False)
    small = facts_of(extra, 0)
    assert len(json.dumps(small, ensure_ascii=False)) <= ROOM_MIN
    assert (len(small["lost"]) + small["more_lost"], len(small["restored"]) + small["more_restored"]) == (10_000,) * 2


def test_failed_citations_have_a_bound_of_their_own() -> None:
    failed = [{"id": f"q{number}", "status": "missing", "text": "x" * 500} for number in range(100)]
    facts = refusal_facts(CitationMismatch("m" * 5_000, None, failed))
    assert len(json.dumps(facts)) <= CITATIONS_CHARS
    assert len(facts["citations"]) + facts["more_citations"] == 100


@pytest.mark.parametrize("extra", [None, "{}", '{"updated": [["x", "int", null]]}'])
def test_facts_are_put_beside_whatever_a_row_has(extra: str | None) -> None:
    found = json.loads(with_facts(extra, {"cost": 3}))
    assert found == {**json.loads(extra or "{}"), FACTS: {"cost": 3}}


@pytest.mark.parametrize("facts", [{}, {"to come": 1}, {"cause": "to come"}])
def test_facts_of_a_later_version_are_no_trouble(facts: dict[str, Any]) -> None:
    assert told(facts) in ([], ["why: to come"])
    assert facts_of({FACTS: facts}) == facts
    assert facts_of({FACTS: "no object"}) == {}
