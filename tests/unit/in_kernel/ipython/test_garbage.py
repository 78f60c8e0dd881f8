"""When the collector of a kernel is asked, and what an interrupt in the middle of it changes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from rlm_kernel_mcp.in_kernel.ipython import garbage
from rlm_kernel_mcp.in_kernel.ipython.garbage import UNITS, Garbage


class Machine:
    """A system with this many units of room for the next step, and a count of the collections."""

    def __init__(self) -> None:
        self.room, self.collections = UNITS, 0

    def collect(self) -> int:
        self.collections += 1
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine()
    monkeypatch.setattr(garbage, "has_room", lambda size: size <= machine.room << 20)
    monkeypatch.setattr(garbage, "trim_heap", lambda: None)
    monkeypatch.setattr(gc, "collect", machine.collect)
    yield machine
    gc.unfreeze()


def shell() -> Any:
    """What is asked of the shell."""
    hook = SimpleNamespace(exec_result=None, _="")
    compiler = SimpleNamespace(let_go=lambda: None)
    return SimpleNamespace(last_execution_result=None, displayhook=hook, user_ns={}, compile=compiler)


def test_a_step_that_begins_below_half_of_the_limit_collects_nothing(machine: Machine) -> None:
    """Source: decision 0009."""
    keeper = Garbage(UNITS)
    machine.room = UNITS // 2
    keeper.before_step()
    assert machine.collections == 0


def test_a_step_that_begins_above_half_collects_once_for_the_same_room(machine: Machine) -> None:
    """What names hold is not gone through again and again."""
    keeper = Garbage(UNITS)
    machine.room = UNITS // 2 - 1
    keeper.before_step()
    first = machine.collections
    assert first > 0
    keeper.before_step()
    keeper.before_step()
    assert machine.collections == first
    machine.room -= 1
    keeper.before_step()
    assert machine.collections == 2 * first


def test_an_interrupt_of_the_collection_leaves_it_to_the_next_step(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's code had ended: how it did stays what is reported."""
    keeper = Garbage(UNITS)

    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(garbage, "trim_heap", interrupted)
        keeper.after_failure(shell(), out_of_memory=False)
    machine.room -= 1
    before = machine.collections
    keeper.before_step()
    assert machine.collections > before
