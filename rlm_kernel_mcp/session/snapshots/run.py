"""One snapshot from the end of its step on: its state, and who waits for its kernel.

Is: the machine of `states.py` with what it needs to be waited for. Is not: what is done in a state (`taking.py`).
Above: that. Below: `states.py`, `kernel/`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.messages import Message
from rlm_kernel_mcp.session.snapshots.states import AWAITS_ANSWER, ENDED, KERNEL_AT_WORK, TAKING, Taking, TakingEvent
from rlm_kernel_mcp.session.states.machine import state_after


@dataclass(slots=True, eq=False)
class SnapshotRun:
    """One snapshot."""

    kernel: Kernel
    step: int
    token: int
    """What asked for it."""
    inline: asyncio.Future[Message]
    """The kernel's own message after the step: the whole snapshot if it is small, as most are."""
    within_s: float
    """How long the kernel may work for it."""
    on_done: Callable[[], None]
    """Called when the kernel has completed it as it should."""
    state: Taking = Taking.QUEUED
    kernel_idle: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the kernel has nothing to do for it."""

    def __post_init__(self) -> None:
        self.inline.add_done_callback(lambda _: self.note_answer())

    def on(self, event: TakingEvent) -> None:
        """Take an event. Raises ImpossibleEvent if the table does not have it."""
        self.state = state_after(TAKING, self.state, event)
        if self.state in KERNEL_AT_WORK:
            self.kernel_idle.clear()
        else:
            self.kernel_idle.set()

    def note_answer(self) -> None:
        """The kernel's message is there. The first to see it reports it; one that comes too late is not reported."""
        if self.inline.done() and self.state in AWAITS_ANSWER:
            self.on(TakingEvent.ANSWER_CAME)

    def supersede(self) -> None:
        """The next step has come."""
        if not self.has_ended:
            self.on(TakingEvent.STEP_CAME)

    def cut_off(self) -> None:
        """Give it up: nothing more is done for it."""
        if not self.has_ended:
            self.on(TakingEvent.CUT_OFF)
        self.inline.cancel()  # what comes now comes too late

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def is_kept(self) -> bool:
        return self.state in (Taking.KEPT, Taking.UNCHANGED)

    @property
    def is_to_be_checked(self) -> bool:
        return self.state in (Taking.CHECKING, Taking.CHECKING_SUPERSEDED)

    @property
    def is_piping(self) -> bool:
        return self.state is Taking.PIPING

    @property
    def is_hung(self) -> bool:
        return self.state is Taking.HUNG
