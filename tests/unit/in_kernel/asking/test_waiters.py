"""A thread that waits for answers does what it is told meanwhile, itself."""

from __future__ import annotations

import threading

import pytest

from rlm_kernel_mcp.in_kernel.asking.waiters import Gate, Waiting, give


def test_who_waits_at_a_gate_does_what_it_is_told_and_waits_on() -> None:
    """In its own thread, in order, and before it has all of its answers."""
    gate, done = Gate(), list[tuple[str, int]]()
    waiting = Waiting.of(gate)
    gate.tell(lambda: done.append(("first", threading.get_ident())))
    gate.tell(lambda: done.append(("second", threading.get_ident())))
    gate.tell(lambda: give([(waiting, "answer")]))
    gate.wait()
    assert done == [("first", threading.get_ident()), ("second", threading.get_ident())]
    assert waiting.given == "answer"


def test_a_gate_at_which_nothing_is_open_has_nothing_done() -> None:
    """What was told came too late: nobody waits for what it is about."""
    gate, done = Gate(), list[str]()
    waiting = Waiting.of(gate)
    give([(waiting, "answer")])
    gate.tell(lambda: done.append("late"))
    gate.wait()
    assert not done


def test_what_is_done_at_a_gate_may_end_the_wait() -> None:
    """As an interrupt does that comes in its midst: whoever asked cancels what is open."""
    gate = Gate()
    Waiting.of(gate)

    def interrupted() -> None:
        raise KeyboardInterrupt

    gate.tell(interrupted)
    with pytest.raises(KeyboardInterrupt):
        gate.wait()
