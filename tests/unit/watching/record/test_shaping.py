"""A row of the record becomes an event with raw texts, and nothing in a row can make it another one or too large."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from rlm_kernel_mcp.session.evidence.citations import Checked, Citation, Coverage, Passage
from rlm_kernel_mcp.session.reports import GuardrailStop, LossReport, StepError, Variable
from rlm_kernel_mcp.session.trace.reading import with_questions
from rlm_kernel_mcp.store.displays import DisplayRow
from rlm_kernel_mcp.store.store import EventHead, EventRow
from rlm_kernel_mcp.watching.messages.events import NAMES_MAX, SOURCES_MAX, Event
from rlm_kernel_mcp.watching.record.evidence import CITATIONS_MAX, cited
from rlm_kernel_mcp.watching.record.questions import asked
from rlm_kernel_mcp.watching.record.shaping import event_of, images_of
from tests.unit.watching.recorded import Recorded


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Recorded]:
    made = Recorded(tmp_path)
    yield made
    made.close()


def events(session: Recorded) -> list[Event]:
    found = with_questions(session.store, session.session_id, (None, None))
    shaped = (event_of(head, found.texts(head) or {}) for head in found.heads)
    return [event for event in shaped if event is not None]


def row(action: str = "run_repl", **columns: Any) -> EventRow:
    return EventRow("s_1", "2026-11-30T12:00:00Z", 1, action, id=7, **columns)


def shaped(action: str = "run_repl", texts: dict[str, bytes] | None = None, **columns: Any) -> Event:
    event = event_of(EventHead(row(action, **columns), 0), texts or {})
    assert event is not None
    return event


def test_a_step_has_its_texts_its_names_and_its_costs(session: Recorded) -> None:
    session.step(
        "x = 1",
        stdout="out\x1b[2J",
        stderr="err",
        result="42",
        updated=(Variable("x", "int", None), Variable("text", "str", 7)),
    )
    (event,) = events(session)
    assert (event["type"], event["step"], event["status"], event["source"]) == ("step", 1, "ok", "mcp")
    assert [event[name]["text"] for name in ("code", "stdout", "stderr", "result")] == [
        "x = 1",
        "out\x1b[2J",
        "err",
        "42",
    ]
    assert event["changed"] == [{"name": "x", "type": "int", "size": None}, {"name": "text", "type": "str", "size": 7}]
    assert event["printed"] == {"stdout": 7, "stderr": 3, "result": 2}
    assert (event["cost"], event["used"]["steps"]) == (5, 1)
    assert event["id"] == str(int(event["id"]))


def test_an_exception_has_its_name_and_its_traceback(session: Recorded) -> None:
    session.step(error=StepError("ValueError", "bad", "Traceback\nValueError: bad"))
    error = events(session)[0]["error"]
    assert (error["ename"], error["evalue"], error["traceback"]["lines"]) == ("ValueError", "bad", 2)


def test_what_was_not_kept_or_came_early_is_noted(session: Recorded) -> None:
    session.step(dropped={"stdout": 1_234}, late_chars=5, contexts_changed=("logs",), news="logs is there.")
    assert events(session)[0]["note"] == (
        "1,234 characters of stdout are not kept: there were too many. The first 5 characters of output were printed "
        "before this step began. The files of logs have changed since. logs is there."
    )


def test_an_interrupt_says_which_signal_and_why(session: Recorded) -> None:
    session.interrupt()
    (event,) = events(session)
    assert (event["type"], event["rung"], event["cause"]) == ("interrupt", "sigint", "timeout_ms")


def test_a_restore_says_which_names_are_gone_and_which_are_back(session: Recorded) -> None:
    session.restore(LossReport("killed", (("m", "it cannot be kept"),), ("x", "y")))
    (event,) = events(session)
    assert event["lost"] == [{"name": "m", "why": "it cannot be kept"}]
    assert event["restored"] == ["x", "y"]
    assert (event["more_lost"], event["more_restored"]) == (0, 0)


def test_of_many_names_the_rest_is_counted() -> None:
    names = [{"name": f"n{n}", "why": "w" * 1_000} for n in range(NAMES_MAX + 5)]
    event = shaped("restore", extra=json.dumps({"facts": {"lost": names, "more_lost": 3}}))
    assert (len(event["lost"]), event["more_lost"]) == (NAMES_MAX, 8)


def test_a_final_answer_has_its_citations_and_its_coverage(session: Recorded) -> None:
    passage = Passage("a.txt", "/a.txt", 0, 4, 0, 4, 1, 1, "text", "0" * 64, "", "")
    checked = Checked((Citation("c1", "marker", "verified", passage),), Coverage(100, delivered=10, cited=4))
    session.finalize("It is text [c1].", checked.record())
    (event,) = events(session)
    assert event["answer"]["text"] == "It is text [c1]."
    assert event["citations"][0]["id"] == "c1"
    assert (event["coverage"]["delivered"], event["coverage"]["cited"], event["reason"]) == (10, 4, "completed")


@pytest.mark.parametrize(
    "evidence", [None, 1, {}, {"citations": 3, "coverage": {}}, {"citations": [{}], "coverage": 1}]
)
def test_evidence_of_another_form_is_none(evidence: object) -> None:
    assert cited(evidence) == {}


def test_of_many_citations_the_rest_is_counted() -> None:
    passage = Passage("a.txt", None, 0, 4, 0, 4, 1, 1, "t" * 300, "0" * 64, "", "")
    many = tuple(Citation(f"c{n}", "marker", "verified", passage) for n in range(CITATIONS_MAX + 7))
    found = cited(Checked(many, Coverage(1)).record())
    assert (len(found["citations"]), found["more_citations"]) == (CITATIONS_MAX, 7)


def test_a_refused_answer_says_why_and_which_citations_failed() -> None:
    facts = {"error_code": "CITATION_MISMATCH", "message": "not there", "citations": [{"id": "q1"}, "odd"]}
    event = shaped("refused", extra=json.dumps({"facts": facts}))
    assert (event["error_code"], event["note"], event["citations"]) == (
        "CITATION_MISMATCH",
        "not there",
        [{"id": "q1"}],
    )


@pytest.mark.parametrize(
    ("limit", "why"),
    [
        *zip(get_args(GuardrailStop), ("no step is left", "no runtime is left", "no characters are left"), strict=True),
        ("of another version", "a limit is reached"),
    ],
)
def test_a_step_that_a_limit_refused_says_why_and_shows_its_code_as_code(limit: str, why: str) -> None:
    """Its beginning is all that the record has; as a sentence it could be taken for the page's own word."""
    code = "# Session finished: answer verified"
    event = shaped("refused", summary=code, extra=json.dumps({"facts": {"limit": limit, "code_chars": 5_000}}))
    assert event["code"] == {"text": code, "chars": 5_000, "lines": 1}
    assert event["note"] == (
        f"This step was not run: {why}. Of its 5,000 characters of code the record has the first {len(code)}."
    )
    whole = shaped("refused", summary="1", extra=json.dumps({"facts": {"limit": limit, "code_chars": 1}}))
    assert whole["note"] == f"This step was not run: {why}."


def test_what_a_step_displayed_and_is_not_kept_is_counted() -> None:
    lost = {"too_large": 1, "too_many": 1_200, "of another version": 2, "no_picture": "x"}
    assert shaped(extra=json.dumps({"facts": {"not_displayed": lost}}))["note"] == (
        "1 display is not kept: larger than is kept of one display. 1,200 displays are not kept: beyond what is kept "
        "of one step. 2 displays are not kept: of another version."
    )
    assert "note" not in shaped(extra=json.dumps({"facts": {"not_displayed": 3}}))


def test_questions_have_a_row_each() -> None:
    lines = [
        {"number": 1, "fate": "answered", "prompt": "p", "text": "t", "text_chars": 1, "answer": "yes", "tokens_in": 5},
        {"number": 2, "fate": "failed", "error_code": "timeout", "child_session": "s_2", "kind": "rlm"},
        {"number": 3, "fate": "cached", "answer": "no"},
    ]
    found = asked({"stdout": "\n".join([*map(json.dumps, lines), "no json", "[1]"]).encode()})
    assert [(call["id"], call["status"]) for call in found["calls"]] == [
        ("q1", "ok"),
        ("q2", "timeout"),
        ("q3", "cached"),
    ]
    assert (found["calls"][1]["child"], found["calls"][0]["of"], found["tokens"]) == ("s_2", "t", 5)


def test_of_an_action_that_this_version_does_not_know_there_is_no_event() -> None:
    assert event_of(EventHead(row("dance"), 0), {}) is None


@pytest.mark.parametrize(
    "extra", [None, "{}", "[]", '{"facts": 1}', '{"facts": {"lost": 1, "cost": "x", "printed": 3}}']
)
@pytest.mark.parametrize("action", ["run_repl", "restore", "refused", "finalize", "interrupt", "stop", "subcalls"])
def test_facts_of_another_form_are_left_out(action: str, extra: str | None) -> None:
    assert shaped(action, extra=extra)["cost"] == 0


def test_pictures_that_are_kept_have_an_address_and_others_a_reason() -> None:
    rows = [
        DisplayRow(1, "image/png", 10, b"0123456789"),
        DisplayRow(2, "image/png", 99, None),
        DisplayRow(0, "", 0, None, is_damaged=True),
    ]
    found = images_of(7, rows)
    assert found[0] == {"mime": "image/png", "bytes": 10, "place": 1, "sha": "7-0"}
    assert [image.get("why") for image in found] == [
        None,
        "the session has displayed as much as is kept of one",
        "it is not what was written",
    ]


def test_what_is_no_picture_comes_with_its_source() -> None:
    """As far as a message has of any text, and of the first ones of a step."""
    rows = [
        DisplayRow(1, "text/html", 8, b"<b>x</b>"),
        DisplayRow(2, "image/svg+xml", 6, b"<svg/>"),
        DisplayRow(3, "text/markdown", 9_000, b"# " + b"a" * 8_998),
        DisplayRow(4, "text/html", 99, None),
    ]
    found = images_of(7, rows)
    assert [image.get("source", {}).get("chars") for image in found] == [8, None, 9_000, None]
    assert found[0]["source"] == {"text": "<b>x</b>", "chars": 8, "lines": 1}
    assert found[2]["source"]["cut"] == 1_500
    many = images_of(7, rows[:1] * (SOURCES_MAX + 1))
    assert ["source" in image for image in many] == [True] * SOURCES_MAX + [False]
    assert "sha" in many[-1]


def test_what_is_used_counts_the_steps_of_children() -> None:
    used = {"step_index": 2, "child_steps": 3, "runtime_ms": 4, "budget_used": 5, "subcalls": 6, "subcall_tokens": 7}
    assert shaped(guardrail_snapshot=json.dumps(used))["used"] == {
        "steps": 5,
        "runtime_ms": 4,
        "chars": 5,
        "subcalls": 6,
        "subcall_tokens": 7,
    }
