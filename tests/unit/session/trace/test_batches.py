"""The trace tells of questions where they were asked, whole and page by page; no other reader is disturbed by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.server import markdown
from rlm_kernel_mcp.session.trace.reading import Wanted, heads_of, nested_trace, read_page, read_trace, whole_trace
from rlm_kernel_mcp.store.store import EventRow, SessionRecord, Store
from rlm_kernel_mcp.store.subcalls import SubcallRow, Texts, packed

pytestmark = pytest.mark.anyio
NOW: Final = "2026-11-29T12:00:00.000Z"
STEPS: Final = 3
QUESTIONS: Final = 40


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A session of three steps, of which the second has asked forty questions in two batches."""
    opened = Store.open(tmp_path)
    opened.add_session(SessionRecord("s_1", NOW, "text", "idle"))
    for step in range(1, STEPS + 1):
        if step == 2:
            rows = [row(opened, number) for number in range(1, QUESTIONS + 1)]
            opened.subcalls.book("s_1", [(one, b"") for one in rows], lambda connection: None)
        used = json.dumps({"step_index": step, "max_steps": 64, "subcalls": 40, "max_subcalls": 1_000})
        opened.add_event(
            EventRow("s_1", NOW, step, "run_repl", result_status="ok", code=f"step {step}", guardrail_snapshot=used)
        )
    yield opened
    opened.close()


def row(store: Store, number: int) -> SubcallRow:
    failed: dict[str, Any] = (
        {"fate": "failed", "error_code": "budget"} if number == QUESTIONS else {"tokens_in": 10, "usd": 0.5}
    )
    return SubcallRow("s_1", store.mint(), NOW, 2, "mcp", (number - 1) // 30, number, **failed)


def test_questions_stand_before_the_step_that_asked_them_has_ended_and_count_as_one(store: Store) -> None:
    """Each batch says what became of it, and each question has a line."""
    events = [event for event in whole_trace(store, "s_1") if event is not None]
    assert [(event.action, event.step_index) for event in events] == [
        ("run_repl", 1),
        ("subcalls", 2),
        ("subcalls", 2),
        ("run_repl", 2),
        ("run_repl", 3),
    ]
    assert events[1].summary == "30 questions: 30 answered; 300 tokens, $15.0000"
    assert (events[2].summary, events[2].result_status) == (
        "10 questions: 9 answered, 1 budget; 90 tokens, $4.5000",
        "error",
    )
    lines = [json.loads(line) for line in (events[2].stdout or "").splitlines()]
    assert [line["number"] for line in lines] == list(range(31, 41))
    assert lines[-1] == {"number": 40, "fate": "failed", "error_code": "budget"}
    assert [head.row.action for head in heads_of(store, "s_1", None, None)] == ["run_repl"] * STEPS


def test_a_line_says_what_was_asked_where_that_is_no_model(store: Store) -> None:
    other = replace(row(store, 50), step_index=3, kind="rlm")
    store.subcalls.book("s_1", [(other, b"")], lambda connection: None)
    *_, told = (event.stdout for event in whole_trace(store, "s_1") if event is not None and event.action == "subcalls")
    assert json.loads(told or "")["kind"] == "rlm"


def test_a_line_is_json_in_which_nothing_acts_whatever_was_asked_and_answered(store: Store) -> None:
    """Once the event was made safe, and also for whoever reads the line as JSON and prints what is in it."""
    asked = replace(row(store, 50), step_index=3, model_said="m\x9b")
    texts = packed(Texts("\x1b]0;mine\x07?", "\u202etxt", "\x85\ud800 and \\x1b"))
    store.subcalls.book("s_1", [(asked, texts)], lambda connection: None)
    *_, told = (event.stdout for event in whole_trace(store, "s_1") if event is not None and event.action == "subcalls")
    found = json.loads(told or "")
    assert found["prompt"] == r"\x1b]0;mine\x07?"
    assert (found["text"], found["model_said"]) == (r"\u202etxt", r"m\x9b")
    assert found["answer"] == r"\x85\ud800 and \x1b"


@pytest.mark.parametrize(
    ("count", "named"),
    [
        (1, "1 child session: s_c1"),
        (3, "3 child sessions: s_c1, s_c2, s_c3"),
        (5, "5 child sessions: s_c1, s_c2, s_c3 and 2 more"),
    ],
)
def test_an_event_names_the_sessions_that_its_questions_were_opened_for(store: Store, count: int, named: str) -> None:
    """Also where no texts are asked for: that is where the steps are."""
    names = [f"s_c{n}" for n in range(1, count + 1)]
    asked = [
        replace(row(store, 50 + n), step_index=3, batch=9, kind="rlm", child_session=one) for n, one in enumerate(names)
    ]
    store.subcalls.book("s_1", [(one, b"") for one in asked], lambda connection: None)
    page = read_page(store, "s_1", Wanted(3, None, "summary", 10_000, 0))
    (told,) = (event.summary for event in page.events if event.action == "subcalls")
    assert told.endswith(f"; in {named}")


def test_the_events_of_child_sessions_follow_those_of_their_questions(store: Store) -> None:
    """And of theirs; one that no question names, as it is still open, comes at the end."""
    for name, parent in (("s_c1", "s_1"), ("s_open", "s_1"), ("s_deep", "s_c1")):
        store.add_session(SessionRecord(name, NOW, "text", "idle", parent=parent))
        store.add_event(EventRow(name, NOW, 0, "init_context", result_status="ok"))
    for of, number, child in (("s_1", 51, "s_c1"), ("s_c1", 1, "s_deep")):
        one = replace(row(store, number), session_id=of, step_index=3, batch=9, kind="rlm", child_session=child)
        store.subcalls.book(of, [(one, b"")], lambda connection: None)
    store.add_event(EventRow("s_c1", NOW, 4, "finalize", result_status="ok"))
    found = [
        (one.session_id, one.depth, one.event.action) for one in nested_trace(store, "s_1") if one.event is not None
    ]
    assert [one for one in found if one[2] != "run_repl"] == [
        *[("s_1", 0, "subcalls")] * 3,
        ("s_c1", 1, "init_context"),
        ("s_c1", 1, "subcalls"),
        ("s_deep", 2, "init_context"),
        ("s_c1", 1, "finalize"),
        ("s_open", 1, "init_context"),
    ]


def test_a_question_that_was_cancelled_under_way_is_one_line_unless_its_answer_came_all_the_same(store: Store) -> None:
    """Nothing came late of what nobody has answered; what it took is told where it was asked."""
    stopped: dict[str, Any] = {"step_index": 3, "error_code": "stopped"}
    sent: dict[str, Any] = {
        "step_index": 3,
        "fate": "late",
        "attempts": 1,
        "queued_ms": 11,
        "answered_by": "agent:codex",
    }
    rows = [
        (replace(row(store, 50), **stopped, fate="failed", tokens_in=0, usd=None), b""),
        (replace(row(store, 50), **sent, error_code="stopped"), packed(Texts("Which?", None, None))),
        (replace(row(store, 51), **stopped, fate="failed", tokens_in=0, usd=None), b""),
        (replace(row(store, 51), **sent, answer_chars=4), packed(Texts("And?", None, "this"))),
    ]
    store.subcalls.book("s_1", rows, lambda connection: None)
    *_, told = (event for event in whole_trace(store, "s_1") if event is not None and event.action == "subcalls")
    assert told.summary == "2 questions: 2 stopped; 20 tokens, $1.0000"
    took = {"attempts": 1, "tokens_in": 10, "usd": 0.5, "queued_ms": 11, "answered_by": "agent:codex"}
    assert [json.loads(line) for line in (told.stdout or "").splitlines()] == [
        {"number": 50, "fate": "failed", "error_code": "stopped", "prompt": "Which?", **took},
        {"number": 51, "fate": "failed", "error_code": "stopped"},
        {"number": 51, "fate": "late", "answer_chars": 4, "prompt": "And?", "answer": "this", **took},
    ]


def test_what_was_used_is_what_the_step_that_asked_says_or_the_event_before(store: Store) -> None:
    """A console's cell has no step; a reader of text has it in words, and is told of no step that was not counted."""
    cell = replace(row(store, 50), step_index=0, source="console")
    store.subcalls.book("s_1", [(cell, packed(Texts("Which?", "x" * 1_000, "this one")))], lambda connection: None)
    events = [event for event in whole_trace(store, "s_1") if event is not None and event.action == "subcalls"]
    assert [event.guardrail_snapshot["step_index"] for event in events] == [2, 2, 3]
    assert [event.step_index for event in events] == [2, 2, 3]
    shown = markdown.event(events[2])
    assert "; used 3/64 steps, 40/1,000 questions\n" in shown
    assert "questions:\n" in shown
    assert '"prompt": "Which?", "text": "' in shown
    assert 'x…", "answer": "this one"' in shown
    assert "stdout" not in shown
    assert "used" not in markdown.event(replace(events[2], guardrail_snapshot={})).partition("\n")[0]
    with_children = replace(events[2], guardrail_snapshot=events[2].guardrail_snapshot | {"child_steps": 4})
    assert "; used 7/64 steps (4 of them in child sessions), 40/1,000 questions\n" in markdown.event(with_children)


def test_pages_put_together_are_the_whole(store: Store) -> None:
    """However small they are."""
    offset, told = 0, ""
    for _ in range(200):
        page = read_page(store, "s_1", Wanted(2, 2, "full", 300, offset))
        told += "".join(event.stdout or "" for event in page.events if event.action == "subcalls")
        if page.next_offset is None:
            break
        offset = page.next_offset
    assert [json.loads(line)["number"] for line in told.replace("}{", "}\n{").splitlines()] == list(
        range(1, QUESTIONS + 1)
    )
    summary = read_page(store, "s_1", Wanted(None, None, "summary", 8_000, 0))
    assert [event.action for event in summary.events].count("subcalls") == 2


async def test_a_program_reads_them_too(store: Store) -> None:
    """Raw, and from an event on."""
    events, following = await read_trace(store, "s_1", (None, None), full=True, offset=1)
    assert ([event.action for event in events][:3], following) == (["subcalls", "subcalls", "run_repl"], None)
    assert len((events[0].stdout or "").splitlines()) == 30
