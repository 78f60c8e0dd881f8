"""The soft limit of memory: lifted at a step's end whatever a signal handler raises, and lent only where it is ours."""

from __future__ import annotations

import os
import sys
import threading
from types import FrameType
from typing import Any, Final

import pytest

from rlm_kernel_mcp.in_kernel.walls import limits
from rlm_kernel_mcp.in_kernel.walls.plan import MB

HARD: Final = 1 << 34
SOFT: Final = HARD - limits.MEMORY_GAP_MB * MB
LENT: Final = SOFT + limits.SERVED_MB * MB


class Ended(BaseException):
    """In the place of the process's end."""


class Pending(OSError):
    """What a signal handler of a step raises, as `TimeoutError` is: also a kind of error that a limit has."""


class Resource:
    """A process's limit of memory, without a process."""

    RLIMIT_AS, RLIM_INFINITY = 9, -1

    def __init__(self) -> None:
        self.limits, self.short = (HARD, HARD), set[str]()

    def getrlimit(self, which: int) -> tuple[int, int]:
        """As the module's."""
        self._asked("getrlimit", which)
        return self.limits

    def setrlimit(self, which: int, new: tuple[int, int]) -> None:
        """As the module's; a hard limit cannot be raised."""
        self._asked("setrlimit", which)
        if new[1] > self.limits[1]:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = new

    def _asked(self, name: str, which: int) -> None:
        assert which == self.RLIMIT_AS
        if name in self.short:
            raise MemoryError


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Resource:
    """A process in which no step has run yet."""

    def ended(status: int) -> None:
        raise Ended(status)

    made = Resource()
    monkeypatch.setattr(limits, "resource", made)
    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(limits, "_step_runs", [False])
    monkeypatch.setattr(limits, "_turn", threading.Lock())
    for name in ("_between", "_within", "_served"):
        monkeypatch.setattr(limits, name, [])
    return made


def raised_at(number: int, call: Any) -> bool:
    """Call it, and raise before the instruction of that number, where a handler might; false if there are fewer."""
    count = 0

    def traced(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if frame.f_globals is not vars(limits):
            return None
        if event == "opcode":
            count += 1
            if count == number:
                raise Pending
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        call(False)
    except Pending:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_steps_end_that_a_signal_handler_left_anywhere_can_be_repeated(process: Resource) -> None:
    """Nothing is held that the control thread or the next step would wait for, nor is the kernel ended."""
    number = 1
    limits.soft_memory(True)
    while raised_at(number, limits.soft_memory):
        assert not limits._turn.locked(), f"instruction {number}"
        limits.soft_memory(False)
        assert process.limits == (HARD, HARD)
        limits.soft_memory(True)
        assert process.limits == (SOFT, HARD)
        number += 1
    assert number > 1


def test_a_limit_that_the_step_has_set_itself_is_not_lent_from_and_not_replaced(process: Resource) -> None:
    """Before a request comes, or while one is served."""
    limits.soft_memory(True)
    process.limits = own = (SOFT // 2, HARD)
    limits.soft_memory_of_requests(True)
    assert process.limits == own
    limits.soft_memory_of_requests(False)
    assert process.limits == own
    process.limits = (SOFT, HARD)
    limits.soft_memory_of_requests(True)
    assert process.limits == (LENT, HARD)
    process.limits = own
    limits.soft_memory_of_requests(False)
    assert process.limits == own
    limits.soft_memory(False)
    assert process.limits == (HARD, HARD)


def test_without_memory_to_see_the_limit_it_is_lent_from(process: Resource) -> None:
    """Such a step needs it most."""
    limits.soft_memory(True)
    process.short = {"getrlimit"}
    limits.soft_memory_of_requests(True)
    assert process.limits == (LENT, HARD)


def test_a_limit_that_cannot_be_set_for_want_of_memory_ends_no_thread_that_serves_requests(process: Resource) -> None:
    """Making the error needs memory too."""
    limits.soft_memory(True)
    process.short = {"setrlimit"}
    limits.soft_memory_of_requests(True)
    assert not limits._turn.locked()


@pytest.mark.parametrize("short", [set[str](), {"setrlimit"}, {"setrlimit", "getrlimit"}])
def test_a_process_whose_hard_limit_was_lowered_ends_with_its_step(process: Resource, short: set[str]) -> None:
    """Also where there is no memory for the error that says so."""
    limits.soft_memory(True)
    process.limits, process.short = (SOFT, SOFT), short
    with pytest.raises(Ended, match=str(limits.LIMIT_LOWERED)):
        limits.soft_memory(False)
