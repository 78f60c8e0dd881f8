"""A trace at a terminal: what others wrote is shown behind a mark, and is taken for nothing of ours."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest

from rlm_kernel_mcp.commands.showing.steps import Steps
from rlm_kernel_mcp.commands.showing.words import COARSE
from rlm_kernel_mcp.session.evidence.citations import Checked, Citation, Coverage, Passage
from rlm_kernel_mcp.session.reports import StepError
from rlm_kernel_mcp.session.trace.reports import TraceEvent
from tests.unit.commands.showing.lines import Lines

STEP: Final = TraceEvent(
    ts="2026-11-30T10:00:59.000Z",
    step_index=24,
    action="run_repl",
    source="mcp",
    result_status="ok",
    summary="",
    duration_ms=3,
    guardrail_snapshot={},
)


def shown(**fields: Any) -> Lines:
    lines = Lines()
    Steps(lines, COARSE).event(replace(STEP, **fields))
    return lines


def test_a_step_is_a_rule_its_code_and_what_came_of_it() -> None:
    lines = shown(
        code="a\nb", stdout="one\ntwo\n", stderr="w\n", result="5", facts={"cost": 129}, functions={"cite": 1}
    )
    assert lines.texts == [
        "-- 24 " + "-" * 7 + " ok - 3 ms - 129 characters - cite 1 - 10:00:59",
        "    a",
        "    b",
        "| one",
        "| two",
        "! w",
        "=> 5",
    ]
    assert len(lines.texts[0]) == lines.width


@pytest.mark.parametrize(
    ("status", "words"),
    [("timeout", "ran out of time"), ("kernel_died", "its kernel died"), ("interrupted", "interrupted")],
)
def test_a_step_that_did_not_end_well_says_how_in_words_and_in_colour(status: str, words: str) -> None:
    lines = shown(code="a", result_status=status, error=StepError("E", "why", "Traceback\nE: why"))
    assert words in lines.texts[0]
    assert lines.texts[2:] == ["! Traceback", "! E: why"]
    assert lines.style_of("24") == "bad"


def test_an_error_without_a_traceback_is_its_name_and_message() -> None:
    assert shown(code="a", error=StepError("ValueError", "no", "")).texts[-1] == "! ValueError: no"


def test_a_person_s_cell_is_called_so() -> None:
    lines = shown(code="a", source="console")
    assert lines.texts[0].startswith("-- a person's cell -")
    assert lines.style_of("cell") == "person"


def test_output_that_looks_like_ours_stands_behind_its_mark() -> None:
    """So does code."""
    forged = "-- answer --- completed\n# restore, ok: nothing is lost"
    lines = shown(code=forged, stdout=forged, result=forged)
    assert all(line[:2] in ("  ", "| ", "=>") for line in lines.texts[1:])


def test_what_others_have_said_of_an_event_is_no_line_of_its_own() -> None:
    """A message may have a name in it that somebody chose."""
    lines = shown(action="add_context", code=None, summary="a\n# restore, ok: nothing is lost")
    assert lines.texts == ["# add_context, ok: a # restore, ok: nothing is lost - 10:00:59"]
    assert shown(code="a", contexts_changed=("a\n# restore",)).texts[-1] == "# changed on disk: a # restore"


def test_what_is_no_step_is_a_line_with_its_facts() -> None:
    facts = {"lost": [{"name": "m", "why": "cannot pickle"}], "restored": ["x"]}
    lines = shown(action="restore", code=None, summary="killed; restored 1 names, lost 1", facts=facts)
    assert lines.texts == [
        "# restore, ok: killed; restored 1 names, lost 1 - 10:00:59",
        "# - gone: `m` (`cannot pickle`)",
        "# - restored: `x`",
    ]
    assert lines.style_of("restore, ok") == "gone"


def test_questions_that_were_asked_together_have_a_line_each_and_their_answers_one() -> None:
    """Whatever is in their texts is no line of its own, and acts on no terminal."""
    asked = {"number": 1, "fate": "answered", "tokens_in": 300, "tokens_out": 10, "prompt": "a\nb", "text": "\u202ec"}
    failed = {"number": 2, "fate": "failed", "error_code": "refused", "prompt": "d", "child_session": "s_2"}
    answered = asked | {"answer": "# restore\nyes"}
    stdout = "\n".join(json.dumps(one) for one in (answered, failed)) + "\nno JSON"
    lines = shown(action="subcalls", code=None, summary="2 questions", stdout=stdout)
    assert lines.texts == [
        "# subcalls, ok: 2 questions - 10:00:59",
        "| 1 answered, 310 tokens: a b / \\u202ec",
        "=> # restore yes",
        "| 2 failed, refused, s_2: d",
        "| no JSON",
    ]


def test_an_answer_stands_with_what_it_cites() -> None:
    passage = Passage("a.txt", None, 0, 4, 0, 4, 1, 1, "text", "0" * 64, "", "")
    checked = Checked((Citation("c7", "marker", "verified", passage),), Coverage(0)).record()
    lines = shown(action="finalize", code=None, result_status="completed", result="so [c7]\n", evidence=checked)
    assert lines.texts[0].startswith("-- answer -")
    assert lines.texts[1] == "    so [c7]"
    assert any("a.txt:1" in line and "verified" in line for line in lines.texts)


def test_a_step_says_how_long_it_came_after_the_one_before_where_nobody_waited_for_answers() -> None:
    """Less than a second is nothing to speak of, and a person's cell is no step of the agent's."""
    lines = Lines(120)
    steps = Steps(lines, COARSE)
    console, asked = {"source": "console"}, {"action": "subcalls", "code": None}
    events: list[tuple[int, dict[str, Any]]] = [(0, {}), (41, {}), (41, console), (42, {}), (50, asked), (59, {})]
    for second, fields in events:
        of_all: dict[str, Any] = {"ts": f"2026-11-30T10:00:{second:02}.500Z", "code": "a", "duration_ms": 500}
        steps.event(replace(STEP, **(of_all | fields)))
    rules = [line for line in lines.texts if line.startswith("-- ")]
    assert ["after the step before" in line for line in rules] == [False, True, False, False, False]
    assert "40.50 s after the step before" in rules[1]


def test_what_a_child_did_is_indented_below_a_rule_of_its_own_which_stands_once() -> None:
    lines = Lines()
    steps = Steps(lines, COARSE)
    for _ in range(2):
        steps.child("s_2", 1)
        steps.event(replace(STEP, code="a"), 1)
    assert [line for line in lines.texts if "child session s_2" in line] == [lines.texts[0]]
    assert all(line.startswith("    ") for line in lines.texts)
