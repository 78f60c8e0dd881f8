"""State that all steps share and one may leave changed: put back where later steps would be mute or report wrongly.

Is: the streams, `print`, the publisher of displays, handlers and mask of signals, the tracing function, the switch
interval, and a recursion limit below Python's own. Is not: state that a step set for the steps after it (filters of
warnings, the decimal context, the locale, the working directory, hooks for exceptions), which stays; nor a wall.
Above: `kernel.py`. Below: `signals.py`, `in_kernel/courtesies/wording.py`, the standard library.
"""

from __future__ import annotations

import builtins
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.channels.threads import SwitchInterval
from rlm_kernel_mcp.in_kernel.courtesies.wording import wording
from rlm_kernel_mcp.in_kernel.ipython.signals import handler_of, set_handler

_SIGNALS: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGTERM)
"""The signals of limits and snapshots; SIGINT belongs to `interrupts.py`."""
_PARTS: Final = frozenset({
    "session", "pub_thread", "name", "topic", "echo", "_buffer_lock", "_io_loop", "_local",
    "_parent_header",
})  # fmt: skip
"""Attributes of a stream that must stay what they are."""


class ProcessState:
    """The state as the kernel began with it. All methods belong to the main thread."""

    def __init__(self, shell: Any, interval: SwitchInterval) -> None:
        self._shell = shell
        self._interval = interval
        self._streams: dict[str, Any] = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._held = {id(stream): set(vars(stream)) for stream in self._streams.values()}
        self._parts = {
            id(stream): {part: value for part, value in vars(stream).items() if part in _PARTS}
            for stream in self._streams.values()
        }
        self._publisher, self._hook, self._print = shell.display_pub, shell.displayhook, builtins.print
        self._handlers = {number: handler_of(number) for number in _SIGNALS}
        self._depth = sys.getrecursionlimit()
        self._changed: list[str] = []

    def put_back(self) -> None:
        """Put the state back, before a step and after it; what code left changed is noted."""
        self._changed += (name for name in self._restored() if name not in self._changed)

    def say_changed(self) -> None:
        """At the beginning of a step: report what was changed to the first step that can see it."""
        if self._changed:
            changed, self._changed = self._changed, []
            put_back = f"was changed by an earlier {wording().cell} and is the session's own again"
            sys.stderr.write("".join(f"[{name} {put_back}]\n" for name in changed))

    def _restored(self) -> Iterator[str]:
        yield from self._restored_streams()
        # Compared by identity: user code may have put an object there whose `==` runs code.
        if builtins.print is not self._print:
            builtins.print = self._print
            yield "print"
        shell = self._shell
        if shell.display_pub is not self._publisher or shell.displayhook is not self._hook:
            shell.display_pub, shell.displayhook = self._publisher, self._hook
            yield "what shows results and displays"
        if sys.gettrace() is not None or sys.getprofile() is not None:
            # A tracing function of a finished step would run in every later one, and slow it down.
            sys.settrace(None)
            sys.setprofile(None)
            yield "sys.settrace"
        if sys.getrecursionlimit() < self._depth:
            sys.setrecursionlimit(self._depth)
            yield "sys.setrecursionlimit"
        self._interval.settle()
        if threading.current_thread() is threading.main_thread():
            # A blocked SIGINT would make `rlm_interrupt` end in a kill. Only the main thread may set handlers
            # (signal(3p)).
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for number, handler in self._handlers.items():
                if handler_of(number) is not handler:
                    set_handler(number, handler)
                    yield f"the handler of {number.name}"

    def _restored_streams(self) -> Iterator[str]:
        for name, stream in self._streams.items():
            same = getattr(sys, name, None) is stream
            if not same:
                setattr(sys, name, stream)
            if not self._has_its_parts(stream):
                same = False
            if not same:
                with contextlib.suppress(RecursionError):
                    stream.flush()
                yield f"sys.{name}"

    def _has_its_parts(self, stream: Any) -> bool:
        """Whether nobody has closed a stream, or put something of its own in the place of its parts and methods."""
        # First: the look-ups below would call `__eq__` and `__hash__` of such keys.
        _let_go_of_odd_keys(vars(stream))
        held, parts = vars(stream), self._parts[id(stream)]
        replaced = [part for part, value in parts.items() if held.get(part, self) is not value]
        shadowed = [part for part in held.keys() - self._held[id(stream)] if hasattr(type(stream), part)]
        for part in replaced:
            held[part] = parts[part]
        for part in shadowed:
            del held[part]
        return not replaced and not shadowed


def _let_go_of_odd_keys(held: dict[Any, Any]) -> None:
    """Remove keys that are not texts, each look-up asks them. Items are popped down to such a key, which asks none."""
    taken: list[tuple[str, Any]] = []
    while not all(type(key) is str for key in held):
        key, value = held.popitem()
        if type(key) is str:
            taken.append((key, value))
    held.update(reversed(taken))
