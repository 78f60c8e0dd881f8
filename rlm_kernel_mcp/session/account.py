"""The account of one session against its limits. Sans-I/O.

Is: counting, and the answer to "may a step run" and "has a limit been reached". Is not: the clock or the kernel. A
limit stops the session, never the server. Above: `session.py`, `session/trace/journal.py`, `session/steps/delivery.py`.
Below: `reports.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rlm_kernel_mcp.session.answering.questions import Answerer
from rlm_kernel_mcp.session.functions.offered import HostFunction, names_to_ask, recorded
from rlm_kernel_mcp.session.reports import Counters, Guardrails, GuardrailStop, Left, SubcallsUsed


class Running(Protocol):
    """A step that runs (`session/steps/runtime.py`)."""

    @property
    def elapsed_ms(self) -> int:
        """Time in which it has been executing, of which nothing is charged yet."""

    def limit_again(self, runtime_left_ms: int) -> None:
        """The runtime that it may use has changed."""


@dataclass(eq=False, slots=True)
class Lent:
    """What a child may use of an account: nobody else may, until it has ended."""

    limits: Guardrails
    by: Account | None = None
    """The child's own, once there is one."""

    @property
    def unspent(self) -> Left:
        """The rest of it."""
        limits = self.limits
        child = self.by or Account(limits)
        return Left(
            max(0, limits.max_steps - child.used_steps),
            max(0, limits.max_runtime_ms - child.counters.runtime_ms),
            max(0, limits.budget_limit - child.counters.budget_used),
            max(0, limits.max_subcalls - child.subcalls.calls),
            max(0, limits.subcall_tokens_limit - child.subcalls.tokens),
        )


class Account:
    """What a session has used. Times in ms, texts in characters."""

    def __init__(self, limits: Guardrails, counters: Counters | None = None, stop: GuardrailStop | None = None) -> None:
        self.limits = limits
        used = counters or Counters()
        self._steps = used.step_index
        self._runtime_ms = used.runtime_ms
        self._chars = used.budget_used
        self.subcalls = SubcallsUsed()
        """What was used of the limits of sub-calls."""
        self.left_of_subcalls: Callable[[], dict[str, int]] = self._subcalls_left
        """What is left of them; whoever answers takes off what is set aside for questions that have no answer yet."""
        self.answerer: Answerer | None = None
        """Who answers the session's questions; None: nobody, and those limits mean nothing."""
        self.functions: tuple[HostFunction, ...] = ()
        """What its code may call."""
        self.stop: GuardrailStop | None = stop
        """The first limit that was reached; no later one replaces it."""
        self.on_stop: Callable[[], None] = lambda: None
        """Called when it is reached."""
        self.parent_id, self.depth = "", 0
        """Where the session stands below others; an empty id: it has no parent."""
        self.parent: Account | None = None
        """Whose code asked for the session: what is used here is used there too."""
        self.child_steps = used.child_steps
        """Steps of sessions that this one's code has asked for."""
        self._lent: list[Lent] = []
        self.running: Running | None = None

    @property
    def asking(self) -> tuple[str, ...]:
        """The names with which the code asks somebody."""
        return names_to_ask(is_answered=self.answerer is not None, functions=self.functions)

    @property
    def recorded_functions(self) -> dict[str, Any]:
        """What the session's record has of what the code may call."""
        return recorded(self.functions)

    @property
    def counters(self) -> Counters:
        return Counters(self._steps, self._runtime_ms, self._chars, self.child_steps)

    @property
    def used_steps(self) -> int:
        """All that count for `max_steps`."""
        return self._steps + self.child_steps

    def recorded(self) -> dict[str, int]:
        """What the session's record has of it."""
        counters = {"step_index": self._steps, "runtime_ms": self._runtime_ms, "budget_used": self._chars}
        children = {"child_steps": self.child_steps} if self.child_steps else {}
        return counters | self.subcalls.recorded() | children

    @property
    def left(self) -> Left:
        """Never more than the session above has left."""
        own = Left(
            steps_left=max(0, self.limits.max_steps - self.used_steps),
            runtime_left_ms=max(0, self.limits.max_runtime_ms - self._runtime_ms),
            chars_left=max(0, self.limits.budget_limit - self._chars),
            **(self.left_of_subcalls() if self.answerer is not None else {}),
        )
        return own if self.parent is None else _within(own, self.parent.left)

    @property
    def free(self) -> Left:
        """What is left beside what its children may still use, and what the running step has used."""
        left, lent = self.left, [one.unspent for one in self._lent]
        running_ms = 0 if self.running is None else self.running.elapsed_ms
        return Left(
            max(0, left.steps_left - sum(one.steps_left for one in lent)),
            max(0, left.runtime_left_ms - running_ms - sum(one.runtime_left_ms for one in lent)),
            max(0, left.chars_left - sum(one.chars_left for one in lent)),
            max(0, (left.subcalls_left or 0) - sum(one.subcalls_left or 0 for one in lent)),
            max(0, (left.subcall_tokens_left or 0) - sum(one.subcall_tokens_left or 0 for one in lent)),
        )

    def lend(self, limits: Guardrails) -> Lent:
        """Keep so much for a child: the running step may use what is beside it."""
        lent = Lent(limits)
        self._lent.append(lent)
        self._limit_again()
        return lent

    def take_back(self, lent: Lent) -> None:
        """The child has ended."""
        self._lent.remove(lent)
        self._limit_again()

    def _limit_again(self) -> None:
        if self.running is not None:
            lent_ms = sum(one.unspent.runtime_left_ms for one in self._lent)
            self.running.limit_again(max(0, self.left.runtime_left_ms - lent_ms))

    def _subcalls_left(self) -> dict[str, int]:
        return {
            "subcalls_left": max(0, self.limits.max_subcalls - self.subcalls.calls),
            "subcall_tokens_left": max(0, self.limits.subcall_tokens_limit - self.subcalls.tokens),
        }

    def snapshot(self) -> dict[str, int]:
        """`guardrail_snapshot` of a trace event: what a step that runs has taken by now is used, too."""
        running_ms = 0 if self.running is None else self.running.elapsed_ms
        return {
            "step_index": self._steps,
            "max_steps": self.limits.max_steps,
            "runtime_ms": self._runtime_ms + running_ms,
            "max_runtime_ms": self.limits.max_runtime_ms,
            "budget_used": self._chars,
            "budget_limit": self.limits.budget_limit,
        } | self._snapshot_more()

    def _snapshot_more(self) -> dict[str, int]:
        children = {"child_steps": self.child_steps} if self.child_steps else {}
        return children | (self._subcalls() if self.answerer is not None else {})

    def _subcalls(self) -> dict[str, int]:
        return {
            "subcalls": self.subcalls.calls,
            "max_subcalls": self.limits.max_subcalls,
            "subcall_tokens": self.subcalls.tokens,
            "subcall_tokens_limit": self.limits.subcall_tokens_limit,
        }

    def admit(self, code_chars: int) -> GuardrailStop | None:
        """Before a step: charge its code and return None, or return the limit that stops the session.

        Code that is longer than what is left of the budget is not run: the budget is then exceeded.
        """
        if code_chars > self.left.chars_left:
            self._reach("budget_exceeded")
        if self.parent is not None:
            self.check()
        if self.stop is None:
            self.charge_chars(code_chars)
        return self.stop

    def begin_step(self) -> int:
        """Count a step; returns its index, from 1."""
        self._steps += 1
        above = self.parent
        while above is not None:
            above.child_steps, above = above.child_steps + 1, above.parent
        return self._steps

    def charge_runtime(self, duration_ms: int) -> None:
        """Charge time in which the session's code was executing, here and above."""
        self._runtime_ms += duration_ms
        if self.parent is not None:
            self.parent.charge_runtime(duration_ms)

    def charge_subcalls(self, calls: int, tokens: int) -> None:
        """Charge questions that were sent. Their limits end sub-calls, and never the session.

        Those above are charged by their own ledgers (`session/answering/ledger.py`).
        """
        self.subcalls = SubcallsUsed(self.subcalls.calls + calls, self.subcalls.tokens + tokens)

    def charge_chars(self, chars: int) -> None:
        """Charge characters delivered to the client, here and above."""
        self._chars += chars
        if self.parent is not None:
            self.parent.charge_chars(chars)

    def exceed_budget(self) -> None:
        """Use up the budget: a step printed more than was left; the few characters that a cut left over are no use."""
        self._reach("budget_exceeded")

    def check(self) -> GuardrailStop | None:
        """After a step or a delivery: the limit that has been reached, if any."""
        left = self.left
        if not left.runtime_left_ms:
            self._reach("timeout")
        elif not left.chars_left:
            self._reach("budget_exceeded")
        elif not left.steps_left:
            self._reach("max_steps")
        return self.stop

    def _reach(self, limit: GuardrailStop) -> None:
        if self.stop is None:
            self.stop = limit
            self.on_stop()


def _within(own: Left, above: Left) -> Left:
    """No more of anything than is left above."""
    subcalls, tokens = own.subcalls_left, own.subcall_tokens_left
    if subcalls is not None and tokens is not None:
        subcalls = min(subcalls, above.subcalls_left or 0)
        tokens = min(tokens, above.subcall_tokens_left or 0)
    return Left(
        min(own.steps_left, above.steps_left),
        min(own.runtime_left_ms, above.runtime_left_ms),
        min(own.chars_left, above.chars_left),
        subcalls,
        tokens,
    )
