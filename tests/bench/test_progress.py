"""A long run says how far it is, to a person and to nobody else."""

from __future__ import annotations

import io
import sys

import pytest

from bench.progress import heard, told
from rlm_kernel_mcp.commands.showing.progress import CLEAR, line


class Terminal(io.StringIO):
    """In place of stderr."""

    def isatty(self) -> bool:
        return True


def test_a_person_sees_how_many_rounds_are_done_and_nothing_of_it_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    assert [*told(iter("ab"), 2, "rounds")] == ["a", "b"]
    first, second, last = shown.getvalue().split(CLEAR)[1:]
    assert first == "rounds [........................] 0 of 2\r"
    assert second.startswith("rounds [############............] 1 of 2, about 0 s left")
    assert last == "\r"


def test_of_many_short_rounds_a_person_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing each of them would take longer than they do."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    assert len([*told(range(1_000), 1_000, "rounds", pause_s=3_600)]) == 1_000
    assert shown.getvalue().count("rounds [") == 1


@pytest.mark.anyio
async def test_what_says_itself_how_far_it_is_is_drawn_as_soon_as_it_says_of_how_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with heard("bytes") as on_progress:
        assert on_progress is not None
        await on_progress(1.0, None, "waiting for 1 s")
        await on_progress(5.0, 10.0, "5 of 10")
    first, last = shown.getvalue().split(CLEAR)[1:]
    assert first.startswith("bytes [############............] 5 of 10, about 0 s left")
    assert last == "\r"


def test_a_file_gets_the_results_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert [*told(range(2), 2, "rounds")] == [0, 1]
    with heard("bytes") as on_progress:
        assert on_progress is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("elapsed_s", "left"), [(1, "about 9 s left"), (20, "about 3 min left"), (1_000, "about 2 h left")]
)
def test_what_is_left_is_told_in_the_unit_that_fits(elapsed_s: float, left: str) -> None:
    assert line("x", 1, 10, elapsed_s).endswith(f" 1 of 10, {left}")
