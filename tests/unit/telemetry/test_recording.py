"""Which spans there are, what is in them and what is not, and that each of them ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from rlm_kernel_mcp.errors import KernelDied, SessionNotFound
from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.keeping import Entry, Said, Spent
from rlm_kernel_mcp.session.answering.questions import Question
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.telemetry.spans import Request, Spans, restoring
from rlm_kernel_mcp.variables.telemetry import NO_TELEMETRY
from tests.unit.telemetry.recorded import InMemory, attributes_of, is_below

FACTS = Facts(name="openai", where="api.example:8443", model="gpt-6-luna")
CANARY = "CANARY-5c1"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
META = {"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "x=1", "other": 3}
ID = "gen_ai.conversation.id"


def outcome(status: str = "ok", **texts: str) -> Outcome:
    return Outcome(status, 12, **texts)  # type: ignore[arg-type]


def question(**fields: Any) -> Question:
    return Question(**{"number": 1, "prompt": f"why {CANARY}", "text": f"text {CANARY}", "step_index": 1, **fields})


def entry(asked: Question, **fields: Any) -> Entry:
    spent = fields.pop("spent", Spent(120, 30, 0.5, attempts=1, queued_ms=4, duration_ms=250))
    given = {"fate": "answered", "answer": f"so {CANARY}", "spent": spent, "said": Said("gpt-6-luna-1"), **fields}
    return Entry(asked, "gpt-6-luna", **given)


def test_a_session_has_its_steps_below_it_and_they_have_their_questions() -> None:
    """Numbers and states of each, and nothing that anybody said."""
    memory = InMemory()
    one = memory.spans.of_session("s_1")
    assert one is not None
    one.begin(is_new=True)
    one.step_begins(1, f"print('{CANARY}')")
    memory.spans.asked("s_1", entry(question()), FACTS)
    one.step_ended(1, outcome(stdout=f"{CANARY}\n", result=CANARY), {"steps": 1, "runtime_ms": 12, "chars": 40})
    one.step_begins(2, "1 / 0")
    one.step_ended(2, outcome("error"), {"steps": 2, "runtime_ms": 24, "chars": 60})
    one.finalized("completed")
    memory.spans.left("s_1")
    session, chat = memory.one("rlm.session"), memory.one("chat gpt-6-luna")
    first, second = memory.named("rlm.step")
    assert all((is_below(first, session), is_below(second, session), is_below(chat, first)))
    assert attributes_of(session) == {
        ID: "s_1",
        "rlm.session.reopened": False,
        "rlm.session.finish_reason": "completed",
        "rlm.session.steps": 2,
        "rlm.session.runtime_ms": 24,
        "rlm.session.chars": 60,
    }
    assert attributes_of(first) == {
        ID: "s_1",
        "rlm.step.index": 1,
        "rlm.step.code_chars": 19,
        "rlm.step.stdout_chars": 11,
        "rlm.step.stderr_chars": 0,
        "rlm.step.result_chars": 10,
        "rlm.step.executing_ms": 12,
        "rlm.step.status": "ok",
    }
    assert (attributes_of(second)["error.type"], second.status.status_code.name) == ("error", "ERROR")
    assert attributes_of(chat) == {
        ID: "s_1",
        "rlm.subcall.kind": "llm",
        "rlm.subcall.fate": "answered",
        "rlm.subcall.attempts": 1,
        "rlm.subcall.queued_ms": 4,
        "rlm.subcall.usd": 0.5,
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-6-luna",
        "gen_ai.response.model": "gpt-6-luna-1",
        "gen_ai.usage.input_tokens": 120,
        "gen_ai.usage.output_tokens": 30,
        "server.address": "api.example",
        "server.port": 8443,
    }
    assert chat.start_time is not None
    assert chat.end_time is not None
    assert (chat.kind.name, chat.end_time - chat.start_time) == ("CLIENT", 250_000_000)
    assert CANARY not in "".join(span.to_json() for span in memory.ended)


def test_texts_go_along_where_they_are_asked_for_cut_and_safe() -> None:
    memory = InMemory(has_texts=True)
    one = memory.spans.of_session("s_1")
    assert one is not None
    one.step_begins(1, f"print('{CANARY}')")
    memory.spans.asked("s_1", entry(question(text="\ud800" + "y" * 20_000)), FACTS)
    one.step_ended(1, outcome(stdout="\x1b[2J", stderr="z" * 9_000), {})
    step, chat = memory.one("rlm.step"), memory.one("chat gpt-6-luna")
    texts = attributes_of(step)
    assert (texts["rlm.step.code"], texts["rlm.step.stdout"]) == (f"print('{CANARY}')", r"\x1b[2J")
    assert len(texts["rlm.step.stderr"]) <= 8_000
    assert "the session's trace has all of it" in texts["rlm.step.stderr"]
    (asked,) = json.loads(attributes_of(chat)["gen_ai.input.messages"])
    assert [part["content"][:14] for part in asked["parts"]] == [f"why {CANARY}"[:14], r"\ud800yyyyyyyy"]
    (answered,) = json.loads(attributes_of(chat)["gen_ai.output.messages"])
    assert answered["parts"] == [{"type": "text", "content": f"so {CANARY}"}]
    for span in memory.ended:
        span.to_json().encode()


@pytest.mark.parametrize(
    ("asked", "fields", "name", "has"),
    [
        ({"kind": "function", "prompt": "lookup"}, {}, "execute_tool lookup", {"gen_ai.tool.name": "lookup"}),
        ({"kind": "function", "prompt": CANARY}, {"spent": Spent(), "error_code": "refused"}, "execute_tool", {}),
        ({"kind": "rlm"}, {"said": Said(child="s_2")}, "rlm.query", {"rlm.subcall.child": "s_2"}),
        ({"model": CANARY}, {"spent": Spent(), "error_code": "refused", "fate": "failed"}, "chat", {}),
        ({}, {"fate": "cached", "spent": Spent()}, "chat", {"rlm.subcall.fate": "cached"}),
    ],
    ids=["a function", "one that is not offered", "a child session", "a model that may not be named", "from the cache"],
)
def test_each_kind_of_question_is_called_as_what_it_is(
    asked: dict[str, Any], fields: dict[str, Any], name: str, has: dict[str, Any]
) -> None:
    """What only code has said, such as a name that nobody offers, is in none of them."""
    memory = InMemory()
    one = memory.spans.of_session("s_1")
    assert one is not None
    one.step_begins(1, "")
    booked = entry(question(**asked), **fields)
    if "model" in asked:
        booked = Entry(booked.question, CANARY, booked.fate, None, booked.error_code, spent=booked.spent)
    memory.spans.asked("s_1", booked, FACTS)
    span = memory.one(name)
    assert has.items() <= attributes_of(span).items()
    assert attributes_of(span).get("error.type") == fields.get("error_code")
    assert CANARY not in span.to_json()


def test_a_question_that_comes_too_late_or_from_a_person_s_cell_is_the_session_s() -> None:
    memory = InMemory()
    one = memory.spans.of_session("s_1")
    assert one is not None
    one.step_begins(2, "")
    for asked in (question(step_index=1), question(step_index=0, source="console")):
        memory.spans.asked("s_1", entry(asked), FACTS)
    memory.spans.left("s_1")
    session = memory.one("rlm.session")
    assert [is_below(chat, session) for chat in memory.named("chat gpt-6-luna")] == [True, True]


def test_a_restore_is_part_of_its_step_and_says_how_many_names_are_back() -> None:
    memory = InMemory()
    one = memory.spans.of_session("s_1")
    assert one is not None
    one.step_begins(1, "")
    with restoring(one) as told:
        told(2, 39)
    with pytest.raises(KernelDied), restoring(one):
        raise KernelDied(CANARY)
    one.step_ended(1, outcome(), {})
    with pytest.raises(asyncio.CancelledError), restoring(one):
        raise asyncio.CancelledError
    memory.spans.left("s_1")
    first, second, third = memory.named("rlm.restore")
    step, session = memory.one("rlm.step"), memory.one("rlm.session")
    assert (is_below(first, step), is_below(second, step), is_below(third, session)) == (True, True, True)
    assert attributes_of(first) == {ID: "s_1", "rlm.restore.lost": 2, "rlm.restore.restored": 39}
    assert [attributes_of(one)["error.type"] for one in (second, third)] == ["KERNEL_DIED", "cancelled"]
    assert CANARY not in "".join(span.to_json() for span in memory.ended)


def test_a_call_of_a_tool_is_part_of_the_client_s_span_and_its_step_is_linked_to_it() -> None:
    """The step may outlive the call; the session, opened by a call, is part of that."""
    memory = InMemory()
    with memory.spans.called("rlm_init_context", Request(META, "7", "2026-07-28")):
        one = memory.spans.of_session("s_1")
        assert one is not None
        one.begin(is_new=True)
    with memory.spans.called("rlm_run_repl", Request(None, "8", "2026-07-28")):
        one.step_begins(1, "")
    one.step_ended(1, outcome(), {})
    memory.spans.left("s_1")
    opened, ran = memory.one("tools/call rlm_init_context"), memory.one("tools/call rlm_run_repl")
    assert opened.parent is not None
    assert (f"{opened.parent.trace_id:032x}", f"{opened.parent.span_id:016x}") == (TRACE, CALLER)
    assert attributes_of(opened) == {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "rlm_init_context",
        "network.transport": "pipe",
        "jsonrpc.request.id": "7",
        "mcp.protocol.version": "2026-07-28",
    }
    session, step = memory.one("rlm.session"), memory.one("rlm.step")
    assert (is_below(session, opened), is_below(step, session)) == (True, True)
    assert ran.context is not None
    assert [link.context.span_id for link in step.links] == [ran.context.span_id]
    assert (opened.kind.name, ran.parent) == ("SERVER", None)


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {},
        {"traceparent": 7},
        {"traceparent": "00-x-y-01"},
        {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"},
        {"traceparent": "ÿ" * 100_000, "tracestate": ["a"]},
    ],
)
def test_what_is_no_span_of_a_client_s_is_nothing(meta: dict[str, Any] | None) -> None:
    """It is anybody's text: the call has a span of its own all the same."""
    memory = InMemory()
    with memory.spans.called("rlm_list_sessions", Request(meta)):
        pass
    assert memory.one("tools/call rlm_list_sessions").parent is None


@pytest.mark.parametrize(
    ("error", "has"),
    [
        (SessionNotFound(CANARY), {"error.type": "tool_error", "rlm.error.code": "SESSION_NOT_FOUND"}),
        (RuntimeError(CANARY), {"error.type": "tool_error"}),
        (asyncio.CancelledError(CANARY), {"error.type": "cancelled"}),
    ],
)
def test_a_call_that_fails_or_is_cancelled_ends_its_span_with_why_and_without_its_text(
    error: BaseException, has: dict[str, str]
) -> None:
    """And passes on what it was, as if there were no span."""
    memory = InMemory()
    with pytest.raises(type(error)) as raised, memory.spans.called("rlm_get_trace", Request()):
        raise error
    assert raised.value is error
    span = memory.one("tools/call rlm_get_trace")
    assert has.items() <= attributes_of(span).items()
    assert (span.status.status_code.name, span.events, CANARY in span.to_json()) == ("ERROR", (), False)


def test_a_step_that_nobody_hears_the_end_of_is_ended_with_its_session() -> None:
    """Whatever has become of it: its server ends, or another takes the session."""
    memory = InMemory()
    one = memory.spans.of_session("s_1")
    assert one is not None
    one.step_begins(1, "")
    memory.spans.left("s_1")
    memory.spans.left("s_1")
    step, session = memory.one("rlm.step"), memory.one("rlm.session")
    assert (attributes_of(step)["rlm.step.status"], attributes_of(step)["error.type"]) == ("unknown", "unknown")
    assert is_below(step, session)


def test_a_step_that_begins_ends_the_one_before_and_no_end_of_another_ends_it() -> None:
    memory = InMemory()
    one = memory.spans.of_session("s_1")
    assert one is not None
    one.step_begins(1, "")
    one.step_begins(2, "")
    one.step_ended(1, outcome(), {})
    assert [attributes_of(step)["rlm.step.index"] for step in memory.named("rlm.step")] == [1]
    one.step_ended(2, outcome(), {})
    one.step_ended(2, outcome(), {})
    assert [attributes_of(step)["rlm.step.status"] for step in memory.named("rlm.step")] == ["unknown", "ok"]


def test_a_child_session_is_part_of_the_step_for_which_it_was_opened() -> None:
    """Of its parent, where that is here; else it stands alone."""
    memory = InMemory()
    parent = memory.spans.of_session("s_1")
    assert parent is not None
    parent.step_begins(1, "")
    child, orphan = memory.spans.of_session("s_2", "s_1"), memory.spans.of_session("s_3", "s_0")
    assert child is not None
    assert orphan is not None
    for one in (child, orphan):
        one.begin(is_new=True)
    memory.spans.left("s_2")
    memory.spans.left("s_3")
    memory.spans.left("s_1")
    of_child, of_orphan, _ = memory.named("rlm.session")
    assert is_below(of_child, memory.one("rlm.step"))
    assert attributes_of(of_child)["rlm.session.parent"] == "s_1"
    assert of_orphan.parent is None


def test_a_session_that_is_only_looked_at_has_no_span() -> None:
    """It is read from its record and let go, as for its final answer."""
    memory = InMemory()
    kept = memory.spans.of_session("s_1")
    assert kept is not None
    memory.spans.left("s_1")
    memory.spans.asked("s_1", entry(question()), FACTS)
    assert memory.ended == []


def test_a_session_that_comes_back_has_a_span_of_its_own() -> None:
    memory = InMemory()
    for _ in range(2):
        one = memory.spans.of_session("s_1")
        assert one is not None
        one.step_begins(1, "")
        memory.spans.left("s_1")
    assert [attributes_of(span)["rlm.session.reopened"] for span in memory.named("rlm.session")] == [True, True]


@pytest.mark.anyio
async def test_the_end_of_a_registry_ends_all_that_is_open() -> None:
    memory = InMemory()
    kept = [memory.spans.of_session(f"s_{number}") for number in range(3)]
    for one in kept:
        assert one is not None
        one.step_begins(1, "")
    await memory.spans.close()
    await memory.spans.close()
    assert len(memory.named("rlm.step")) == len(memory.named("rlm.session")) == 3
    assert memory.spans.of_session("s_4") is None


@pytest.mark.anyio
async def test_where_nobody_wants_spans_there_is_nothing_of_them() -> None:
    spans = Spans(NO_TELEMETRY)
    await spans.open()
    assert spans.of_session("s_1") is None
    with spans.called("rlm_run_repl", Request(META)), restoring(None) as told:
        told(1, 2)
    spans.asked("s_1", entry(question()), FACTS)
    spans.left("s_1")
    await spans.close()
