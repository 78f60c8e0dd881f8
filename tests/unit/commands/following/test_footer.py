"""Below a session that is followed stand two lines, which come and go: what was printed is what a pipe gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from rlm_kernel_mcp.commands.following.follow import Following
from rlm_kernel_mcp.commands.following.footer import Footer
from rlm_kernel_mcp.commands.showing.terminal import Part
from rlm_kernel_mcp.commands.showing.words import FINE
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.watching.record.news import AtWork, Record

LIMITS = {"max_steps": 64, "max_runtime_ms": 120_000, "budget_limit": 100_000}
USED = {"step_index": 41, "runtime_ms": 22_500, "budget_used": 42_000}


class Screen:
    """What is printed, and the lines below it."""

    width = 20

    def __init__(self) -> None:
        self.printed = ""
        self.below: list[str] = []

    def draw(self, lines: Sequence[Sequence[Part]]) -> None:
        self.below = ["".join(text for text, _ in line) for line in lines]

    def clear(self) -> None:
        self.below = []

    def print(self, text: str) -> None:
        assert not self.below, "they would stand in the middle of what is printed"
        self.printed += text


class Looked:
    """In place of a record, as it was at the last look."""

    def __init__(self, status: str = "running", at_work: AtWork | None = None, shown: Sequence[int] = ()) -> None:
        self.session: SessionRecord | None = SessionRecord(
            "s_1", "2026", "text", status, counters=json.dumps(USED), limits=json.dumps(LIMITS)
        )
        self.at_work, self._shown = at_work, shown

    def has_shown(self, row_id: int) -> bool:
        return row_id in self._shown


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def made() -> tuple[Footer, Screen, Clock]:
    screen, clock = Screen(), Clock()
    return Footer(screen, screen.print, FINE, lambda session: True, clock), screen, clock


def draw(footer: Footer, looked: Looked) -> None:
    footer.draw(cast(Record, looked))


def test_they_say_how_it_stands_and_how_near_its_limits_it_is() -> None:
    footer, screen, clock = made()
    footer.begins(7, 1_500)
    clock.s += 2
    draw(footer, Looked())
    assert screen.below == [
        "running step 41 · 3 s",
        "s_1 · 41/64 steps ▇▇▇▇▁ · 22/120 s ▇▁▁▁▁ · 42,000/100,000 characters ▇▇▇▁▁",
    ]


def test_a_step_is_timed_by_the_record_where_nobody_has_told_of_it() -> None:
    """Once: the record says it again with each look, and later than it is."""
    footer, screen, clock = made()
    draw(footer, Looked(at_work=AtWork(7, 61_000, 2)))
    clock.s += 9
    draw(footer, Looked(at_work=AtWork(7, 62_000, 0)))
    assert screen.below[0] == "running step 41 · 1 min 10 s"


def test_for_how_many_answers_a_step_waits_is_said() -> None:
    footer, screen, _ = made()
    draw(footer, Looked(at_work=AtWork(7, 0, 2)))
    assert screen.below[0] == "running, waits for 2 answers · 0 s"


def test_between_two_steps_no_time_runs() -> None:
    footer, screen, _ = made()
    footer.begins(7, 0)
    draw(footer, Looked("idle", shown=[7]))
    assert screen.below[0] == "idle"


def test_a_session_without_a_record_has_a_line_that_says_so() -> None:
    footer, screen, _ = made()
    looked = Looked()
    looked.session = None
    draw(footer, looked)
    assert screen.below == ["The record of the session cannot be read."]


def test_what_is_printed_is_whole_lines_and_the_one_that_has_not_ended_stands_above_them() -> None:
    footer, screen, _ = made()
    draw(footer, Looked())
    for piece in ("one\ntw", "o", " and", " more than fits here"):
        footer.write(piece)
    draw(footer, Looked())
    assert (screen.printed, screen.below[0], len(screen.below)) == ("one\n", "d more than fits here"[-20:], 3)
    footer.write(".\nthree\n")
    draw(footer, Looked())
    assert (screen.printed, len(screen.below)) == ("one\ntwo and more than fits here.\nthree\n", 2)


def test_in_the_end_they_are_gone_and_what_there_was_of_a_line_is_printed() -> None:
    footer, screen, _ = made()
    footer.write("half a li")
    draw(footer, Looked())
    footer.close()
    assert (screen.printed, screen.below) == ("half a li", [])


def test_a_session_that_is_followed_with_them_prints_what_it_does_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_lines: Any = made()
    footer, screen, _ = with_lines
    store = Store.open(tmp_path)
    try:
        store.add_session(SessionRecord("s_1", "2026", "text", "finalized", finish_reason="completed"))
        for through in (None, footer):
            environ = {"RLM_HOST": "off"}
            assert Following(store, "s_1", environ, as_json=False, footer=through).run() == 0
    finally:
        store.close()
    assert (screen.printed, screen.below) == (capsys.readouterr().out, [])
