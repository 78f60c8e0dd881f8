"""Who answers what a session's code asks of the host while its step waits: nobody, so far.

Is: the seam for it, which every kernel and every step of a session passes. Is not: a channel, or anyone who answers: a
kernel has no way to ask. Above: `session_kernel.py`, `session/session.py`. Below: `session/steps/run.py`, `kernel/`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.session.functions.calls import FunctionCalls
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.steps.run import RunningStep


class Answering(Protocol):
    """What answers one session's code. `session/reopening.py` makes it, as it makes the session's other parts."""

    desk: Desk | None
    """Where its questions wait for whoever drives the session; None: they do not."""
    functions: FunctionCalls | None
    """The calls of functions; None: it may call none."""

    async def open(self, kernel: Kernel) -> None:
        """Give a kernel its way to ask. It has the context and the values that came back, and no step has begun in it.

        Called for the first kernel of a session and for each that replaces one; again for the same kernel where the
        call was cut off.

        Raises:
            KernelDied: the kernel does not take it.
        """

    def serving(self, step: RunningStep) -> AbstractContextManager[None]:
        """Entered before the step's code is sent, and left when the step has ended.

        In between, what its code asks is answered, and `step.clock` is paused while the code does nothing but wait.
        """


class Nobody:
    """`Answering` of a session whose code has nobody to ask."""

    desk: Desk | None = None
    functions: FunctionCalls | None = None

    async def open(self, kernel: Kernel) -> None:
        """Give it nothing."""

    def serving(self, step: RunningStep) -> AbstractContextManager[None]:
        """Answer nothing."""
        del step
        return nullcontext()
