"""What a step leaves in memory that no name holds: released when it fails, and collected before the room is needed.

Is: the shell's own hold on exceptions and results, and when CPython's collector is asked. Is not: the memory limit
(`in_kernel/walls/limits.py`), nor a wall. Garbage below half of the limit costs nothing, unless its step failed. Above:
`kernel.py`. Below: `in_kernel/walls/limits.py`, the standard library.
"""

from __future__ import annotations

import contextvars
import gc
import sys
import time
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.walls.limits import has_room, trim_heap
from rlm_kernel_mcp.units import MB

UNITS: Final = 32
"""The units in which room is measured: this many make the limit."""
PASSES: Final = 2
"""Passes of the collector: what a finalizer (`__del__`, an unfinished generator) can reach is left for the next one.

A step that has not failed leaves little of that, and a pass through ten million values takes a third of a second."""
CHEAP_S: Final = 0.02
"""Where a collection takes less, there is one after each failed step: garbage in holes of the heap takes no new
room."""
_IN_CONTEXT_ALONE: Final = 4
"""References to a variable that only a context holds, while it is looked at: the context's, the list's and two more."""
_LAST: Final = ("last_type", "last_value", "last_traceback", "last_exc")


class Garbage:
    """The collector of one session's kernel. All methods belong to the main thread."""

    def __init__(self, memory_mb: int) -> None:
        self._unit = memory_mb * MB // UNITS
        self._room = UNITS
        """Units of room after the last collection, or more, where names have been released since."""
        self._failed = False
        """Whether a step has failed and not all that it took has been freed."""
        self._seconds = 0.0
        """What the last collection took."""
        gc.freeze()  # what the bare kernel holds stays, so the collector need not go through it

    def before_step(self) -> None:
        """Collect where more than half of the limit is in use, if it was not in use after the last collection."""
        if self._failed:
            trim_heap()
            self._collect_if_grown()
        elif not has_room(UNITS // 2 * self._unit):
            self._collect_if_grown(passes=1)
        elif self._room < UNITS and has_room((self._room + 1) * self._unit):
            self._room = self._measured()

    def after_failure(self, shell: Any, out_of_memory: bool) -> None:
        """Release what the shell holds of a step that failed, and collect what its frames held."""
        self.let_go(shell)
        shell.user_ns.pop("__warningregistry__", None)
        _empty_lost_variables()
        try:
            if out_of_memory or self._seconds < CHEAP_S:
                self._collect()
            else:
                self._collect_if_grown()
        except KeyboardInterrupt:
            self.owe()  # the step's code has ended, and its garbage does not change how it ended

    def let_go(self, shell: Any) -> None:
        """After each step: the shell holds no exception, no frame and no value that the step's names do not."""
        result = shell.last_execution_result
        if result is not None:
            # IPython keeps the last result, and its exception's traceback holds every frame of the step.
            result.result = result.error_in_exec = result.error_before_exec = None
        hook = shell.displayhook
        hook.exec_result = None
        # The display hook has a reference of its own to `_`, so `del _` alone would free nothing.
        if shell.user_ns.get("_") is not hook._:
            hook._ = ""
        shell.compile.let_go()
        # `sys.last_value` and the like are set by IPython's `showtraceback`, and hold the frames too.
        for name in _LAST:
            if hasattr(sys, name):
                delattr(sys, name)

    def owe(self) -> None:
        """A step has failed whose frames are still in use: look before the next one."""
        self._failed = True

    def _collect_if_grown(self, passes: int = PASSES) -> None:
        room = self._measured()
        self._failed = False
        if room < self._room:
            self._collect(passes)
        else:
            self._room = room

    def _collect(self, passes: int = PASSES) -> None:
        began = time.perf_counter()
        for _ in range(passes):
            gc.collect()
        trim_heap()
        self._seconds = time.perf_counter() - began
        before, self._room = self._room, self._measured()
        # What the reply still holds may lie above all that was freed, where the heap can shrink from its top alone.
        self._failed = self._room < before

    def _measured(self) -> int:
        """How many units a step could use now."""
        # Bisection: each question is a mapping that is tried and dropped (`has_room`), about 3 µs.
        low, high = 0, UNITS
        while low < high:
            middle = (low + high + 1) // 2
            if has_room(middle * self._unit):
                low = middle
            else:
                high = middle - 1
        return low


def _empty_lost_variables() -> None:
    """Release what unreachable context variables hold: the context keeps each one that was ever set."""
    # A context variable is immortal once it is set: the context maps it strongly, even when no name is left.
    for variable in list(contextvars.copy_context()):
        if sys.getrefcount(variable) == _IN_CONTEXT_ALONE:
            variable.set(None)
