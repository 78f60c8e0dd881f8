"""Output on its way to a page is joined for a moment, bounded, and says how much of it is left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlm_kernel_mcp.watching.live.output import HELD_CHARS, JoinedOutput
from rlm_kernel_mcp.watching.messages.stream import JOINED_S, OUTPUT_BYTES, OUTPUT_BYTES_A_SECOND


def taken(output: JoinedOutput, now_s: float) -> list[Any]:
    return list(output.take(now_s))


def test_what_comes_within_a_moment_comes_together() -> None:
    output = JoinedOutput(7)
    output.add("stdout", 0, "a")
    assert taken(output, 100.0) == [{"type": "output", "step": 7, "field": "stdout", "text": "a"}]
    output.add("stdout", 1, "b")
    assert taken(output, 100.0 + JOINED_S / 2) == []
    output.add("stdout", 2, "c")
    assert [one["text"] for one in taken(output, 100.0 + JOINED_S)] == ["bc"]
    assert output.due_in(101.0) is None


def test_both_streams_are_told_apart() -> None:
    output = JoinedOutput(7)
    output.add("stderr", 0, "e")
    output.add("stdout", 0, "o")
    assert [(one["field"], one["text"]) for one in taken(output, 1.0)] == [("stdout", "o"), ("stderr", "e")]


def test_what_never_came_is_skipped_and_what_came_twice_is_told_once() -> None:
    output = JoinedOutput(7)
    output.add("stdout", 0, "abc")
    output.add("stdout", 1, "bcd")
    output.add("stdout", 10, "z")
    (found,) = taken(output, 1.0)
    assert (found["text"], found["skipped"]) == ("abcdz", 6)


@pytest.mark.parametrize("char", ["a", "\x00", "\U0001f600", "\ud800"], ids=["letter", "control", "emoji", "surrogate"])
def test_a_message_has_a_bound_and_every_character_is_told_or_counted(char: str) -> None:
    output, count = JoinedOutput(7), 5 * HELD_CHARS
    for at in range(0, count, HELD_CHARS):
        output.add("stdout", at, char * HELD_CHARS)
    (found,) = taken(output, 1.0)
    assert len(json.dumps(found["text"])) <= OUTPUT_BYTES
    assert len(found["text"]) >= OUTPUT_BYTES // 13
    assert found["skipped"] + len(found["text"]) == count


def test_no_more_goes_out_in_a_second_than_is_said() -> None:
    output, now_s, sent, at = JoinedOutput(7), 50.0, 0, 0
    while now_s < 60.0:
        output.add("stdout", at, "x" * 16_000)
        at += 16_000
        sent += sum(len(json.dumps(one["text"])) for one in output.take(now_s))
        now_s += JOINED_S
    assert sent <= OUTPUT_BYTES_A_SECOND * 11
    output.add("stdout", at, "the end")
    (last,) = output.take(now_s, is_over=True)
    assert last["text"].endswith("the end")


def test_what_is_dropped_takes_the_marks_of_its_letter_along() -> None:
    output = JoinedOutput(7)
    output.add("stdout", 0, "e\u0301" * HELD_CHARS)
    (found,) = taken(output, 1.0)
    assert found["text"].startswith("e")


def test_at_the_end_of_a_step_nothing_waits() -> None:
    output = JoinedOutput(7)
    output.add("stdout", 0, "a")
    taken(output, 1.0)
    output.add("stdout", 1, "b")
    assert [one["text"] for one in output.take(1.0, is_over=True)] == ["b"]
