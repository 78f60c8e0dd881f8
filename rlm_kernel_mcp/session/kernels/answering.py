"""Who answers what a session's code asks of the host, as its kernels and steps see it.

Is: the seam for it, which every kernel and every step of a session passes, and the moment at which a kernel is given
its way to ask. Is not: a channel, or anyone who answers. Above: `session_kernel.py`, `session/session.py`. Below:
`session/steps/run.py`, `kernel/`.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rlm_kernel_mcp.errors import KernelDied
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
        """Give a kernel its way to ask. It has the values that came back, and no step has begun in it.

        Called for the first kernel of a session and for each that replaces one, as soon as it is there; again for the
        same kernel, once a step needs it, where that did not take it. Its context may still be on its way.

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


class HasAnswering(Protocol):
    """Who knows by whom a session is answered."""

    answering: Answering


class WayToAsk:
    """That of the kernel which a session has: given while nobody waits, for a person's cell may ask before any step.

    Belongs to the event loop.
    """

    def __init__(self, of: HasAnswering) -> None:
        self._of = of
        self._giving: asyncio.Task[None] | None = None

    @property
    def is_given(self) -> bool:
        """Whether the kernel has it."""
        task = self._giving
        return task is not None and task.done() and not task.cancelled() and task.exception() is None

    def begin(self, kernel: Kernel) -> None:
        """Give it to a kernel, which is there now; whoever needs it hears whether that went well."""
        self.end()
        self._giving = asyncio.create_task(self._of.answering.open(kernel), name="a kernel's way to ask")
        self._giving.add_done_callback(_is_read)

    async def given(self, kernel: Kernel) -> None:
        """Return when the kernel has it; one that did not take it before is asked once more. Raises: KernelDied."""
        if self.is_given:
            return
        if self._giving is None or self._giving.done():
            self.begin(kernel)
        giving = self._giving
        assert giving is not None  # as of now
        await asyncio.wait({giving})
        if giving.cancelled():
            raise KernelDied("The kernel was ended before it could be used.")
        giving.result()

    def end(self) -> None:
        """The kernel is gone."""
        giving, self._giving = self._giving, None
        if giving is not None:
            giving.cancel()


def _is_read(giving: asyncio.Task[None]) -> None:
    """Nobody may ever need it, and asyncio complains of errors that nobody has looked at."""
    if not giving.cancelled():
        giving.exception()
