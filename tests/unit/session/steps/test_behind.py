"""A step that another client's cell keeps from beginning: what of its time is charged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rlm_kernel_mcp.kernel.execution import Execution
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.steps.behind import is_behind, not_charged_behind
from rlm_kernel_mcp.session.steps.clock import StepClock


class Play:
    """A step, its kernel, and the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = self.cpu_ms = self.heard = 0
        monkeypatch.setattr("time.monotonic_ns", lambda: self.now_ns)
        self.clock = StepClock(0, 10**12)
        client = SimpleNamespace(console_busy=True)
        self.kernel = cast(
            "Kernel", SimpleNamespace(client=client, process=SimpleNamespace(cpu_ms=lambda: self.cpu_ms))
        )
        self.reply = SimpleNamespace(code=None)
        done = SimpleNamespace(done=lambda: False)
        own: Any = SimpleNamespace(reply=self.reply, done=done, on_message=self._hear)
        self.execution = cast("Execution", own)

    def _hear(self) -> None:
        self.heard += 1

    def passes(self, ms: int) -> None:
        self.now_ns += ms * 1_000_000

    @property
    def charged_ms(self) -> int:
        return self.clock.elapsed_ns(self.now_ns) // 1_000_000


def test_the_wait_for_a_person_s_cell_is_not_charged_but_for_what_the_kernel_works_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel can make the cell up."""
    play = Play(monkeypatch)
    assert is_behind(play.execution, runs_a_cell=True)
    with not_charged_behind(play.execution, play.kernel, play.clock):
        play.passes(20_000)
        play.cpu_ms = 30
        play.execution.on_message()
        assert play.charged_ms == 20_000  # it has not begun
        play.reply.code = "1"
        play.execution.on_message()
        assert play.charged_ms == 30
        assert not is_behind(play.execution, runs_a_cell=True)
        play.passes(7)
        play.execution.on_message()
    assert (play.charged_ms, play.heard) == (37, 3)


def test_a_step_that_never_begins_is_charged_for_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was withdrawn at its deadline."""
    play = Play(monkeypatch)
    with not_charged_behind(play.execution, play.kernel, play.clock):
        play.passes(500)
    assert play.charged_ms == 0


def test_without_such_a_cell_all_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ever."""
    play = Play(monkeypatch)
    cast("Any", play.kernel.client).console_busy = False
    with not_charged_behind(play.execution, play.kernel, play.clock):
        play.passes(500)
    assert play.charged_ms == 500
    assert not is_behind(play.execution, runs_a_cell=False)
    assert not is_behind(None, runs_a_cell=True)
