"""When code is interrupted that has a time of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from rlm_kernel_mcp.in_kernel.ipython.interrupts import END_AGAIN_S, Interrupts


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that were sent to the main thread, in place of sending them."""
    found: list[int] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda thread, signum: found.append(signum))
    return found


def test_code_that_runs_on_is_interrupted_until_it_ends_and_nothing_else_is(sent: list[int]) -> None:
    """Nor what is not armed: the lines around it, which it has not begun or has left."""
    later: list[tuple[float, Callable[[], None]]] = []
    made = Interrupts({})
    made.later = lambda seconds, call: later.append((seconds, call))
    made.end_after(0.5)
    (first,) = later
    assert first[0] == 0.5
    first[1]()
    assert (len(sent), later[-1][0]) == (0, END_AGAIN_S)
    made.armed = True
    later[-1][1]()
    later[-1][1]()
    assert len(sent) == 2
    made._runs += 1  # it has ended, and another piece of code runs
    count = len(later)
    later[-1][1]()
    assert (len(sent), len(later)) == (2, count)
