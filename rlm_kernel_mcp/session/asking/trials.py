"""Final answers of child sessions on trial: the kernel whose code asks says whether one has the schema that is wanted.

Is: the offer over the channel, and a bounded wait for its word. Is not: a check: the host runs no schema, and a kernel
that lies has a child's answer refused, or taken, that its own code asked for. Above: `passing.py`, `questions.py`.
Below: `channel.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from rlm_kernel_mcp.session.asking.channel import KernelChannel

LOOK_S: Final = 10.0
"""So long an answer waits for the word of a kernel, whose code may be at something else."""


class Trials:
    """One session's."""

    def __init__(self) -> None:
        self._open: dict[int, asyncio.Future[str | None]] = {}
        """By the kernel's id of the question."""

    async def look(self, channel: KernelChannel, number: int, answer: str) -> str | None:
        """What is wrong with an answer to an open question; None: nothing, or the kernel does not say it in time."""
        if not channel.is_open(number) or number in self._open:
            return None
        said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._open[number] = said
        try:
            channel.give(number, None, answer)
            async with asyncio.timeout(LOOK_S):
                return await said
        except TimeoutError:
            return None
        finally:
            del self._open[number]

    def said(self, number: int, why: str | None) -> None:
        """The kernel's word; nobody may wait for it."""
        said = self._open.get(number)
        if said is not None and not said.done():
            said.set_result(why)

    def forget(self, whose: Callable[[int], bool] = lambda number: True) -> None:
        """Nobody says anything more of these: they are not asked any more, or the kernel is gone (all)."""
        for number in filter(whose, self._open):
            self.said(number, None)
