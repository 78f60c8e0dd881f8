"""What a host tells becomes messages: of the step that runs, and nothing of what the record has told already."""

from __future__ import annotations

from typing import Any

import pytest

from rlm_kernel_mcp.watching.live.told import Told

ROW = "1796053937654618989"


def begin(row: str = ROW, step: int = 3, **more: Any) -> dict[str, Any]:
    return {"type": "begin", "id": row, "step": step, "code": "code", "code_chars": 4, "elapsed_ms": 5} | more


def output(text: str, at: int = 0, step: int = 3) -> dict[str, Any]:
    return {"type": "output", "step": step, "stream": "stdout", "at": at, "text": text}


def heard(told: Told, *events: dict[str, Any], now_s: float = 1.0) -> list[Any]:
    return [*told.hear([*events], now_s), *told.take(now_s)]


def unshown(_row: int) -> bool:
    return False


def test_a_step_that_begins_is_told_with_its_code_and_its_output() -> None:
    told = Told(unshown)
    first, second = heard(told, begin(), output("a"), output("b", 1))
    assert (first["type"], first["id"], first["step"], first["code"]) == ("begin", ROW, 3, "code")
    assert first["ts"] == "2026-11-30T15:52:17.654Z"
    assert (second["type"], second["text"]) == ("output", "ab")
    assert told.row == int(ROW)


def test_a_step_that_the_record_has_told_already_is_not_told_again() -> None:
    told = Told(lambda row: row == int(ROW))
    assert heard(told, begin(), output("a")) == []
    assert told.row is None


def test_output_of_another_step_is_nobodys() -> None:
    assert [one["type"] for one in heard(Told(unshown), output("before"), begin(), output("late", step=2))] == ["begin"]


def test_all_of_the_output_comes_before_the_end_of_its_step() -> None:
    told = Told(unshown)
    heard(told, begin(), output("a"))
    found: list[Any] = [*told.hear([output("b", 1), {"type": "step", "id": ROW, "step": 3}], 1.0)]
    assert [one["text"] for one in found] == ["b"]
    assert told.row is None
    assert told.take_news()


def test_only_what_the_record_has_is_news_of_it() -> None:
    told = Told(unshown)
    heard(told, {"type": "watching", "here": True})
    assert told.take_news(), "the session has a place now"
    heard(told, begin(), output("a"))
    assert not told.take_news()
    for kind in ("step", "interrupt", "restore", "limit", "refused", "kernel_ended", "dropped", "unknown to us"):
        heard(told, {"type": kind})
        assert told.take_news(), kind
        assert not told.take_news()


def test_after_a_gap_the_record_is_asked_which_step_runs() -> None:
    told = Told(unshown)
    heard(told, begin(), output("a"))
    heard(told, {"type": "dropped", "events": 3})
    assert told.row is None
    assert heard(told, output("b", 1)) == []


def test_a_host_that_does_not_have_the_session_says_so() -> None:
    told = Told(unshown)
    heard(told, {"type": "watching", "here": False})
    assert told.is_here is False
    heard(told, begin())
    assert told.is_here is True


@pytest.mark.parametrize(
    "event",
    [
        begin(row="x"),
        begin(row="-1"),
        begin(row="9" * 30),
        begin(row=7),  # type: ignore[arg-type]
        begin(step=-1),
        begin(code=None),
        {"type": "begin"},
        {"type": "output"},
        {**output("a"), "at": "0"},
        {**output("a"), "stream": "stdin"},
        {**output("a"), "text": None},
        {},
    ],
    ids=range(12),
)
def test_an_event_of_another_form_ends_nothing(event: dict[str, Any]) -> None:
    told = Told(unshown)
    heard(told, begin(), event, output("a"))
    heard(told, begin(), output("a"))
    assert told.row == int(ROW)
