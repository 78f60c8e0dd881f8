"""Ends open questions without an answer: of a step that is over, or of a kernel that wants them no more.

Is: the order of that, a portion in each turn of the loop: 10,000 may be open, and other sessions are served between.
Is not: which question may be asked (`questions.py`). Above: `questions.py`. Below: `channel.py`, `asking.py`,
`answers.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from rlm_kernel_mcp.session.answering.questions import Failed
from rlm_kernel_mcp.session.asking.answers import Answers
from rlm_kernel_mcp.session.asking.asking import Asking
from rlm_kernel_mcp.session.asking.channel import KernelChannel

PORTION: Final = 10
"""Questions that are ended in one turn of the loop: each takes about 15 us, and a dozen turns are on the way from an
interrupt to its answer, since what a kernel says of its step's end comes between."""


class Ends:
    """One session's. Belongs to the event loop."""

    def __init__(self, answers: Answers, whose: Callable[[int], Asking | None]) -> None:
        """`whose`: who waits for an open question, by the kernel's id."""
        self._answers, self._whose = answers, whose
        self._ending: set[Asking] = set()
        self._is_unread = False
        self._unwanted: dict[int, None] = {}

    def hold(self, is_unread: bool) -> None:
        """Ask nobody anything further while the kernel does not take its answers, or go on."""
        self._is_unread = is_unread
        self._answers.hold(is_unread or bool(self._ending))

    def end(self, asking: Asking, why: Failed, channel: KernelChannel | None) -> None:
        """End all that one asks. Until that is done nothing else of the session is sent: it would be in vain."""
        if len(asking.open) > PORTION:
            self._ending.add(asking)
            self.hold(self._is_unread)
        self._end_some(asking, why, channel)

    def _end_some(self, asking: Asking, why: Failed, channel: KernelChannel | None) -> None:
        numbers = []
        for number in list(islice(asking.open, PORTION)):
            if channel is not None and channel.closed(number):
                channel.fail(number, why)
            numbers.append(asking.end(number))
        self._answers.cancel(filter(None, numbers), why)
        if asking.open:
            asyncio.get_running_loop().call_soon(self._end_some, asking, why, channel)
            return
        if asking.is_stopped and asking.source == "mcp":  # all cells of consoles have one index, and others may go on
            self._answers.end_step(asking.index, asking.source)
        if asking in self._ending:
            self._ending.remove(asking)
            self.hold(self._is_unread)

    def cancel(self, channel: KernelChannel, ids: Iterable[int]) -> None:
        """The kernel does not wait for these any more. What the rest of this costs is charged to it."""
        unwanted = self._unwanted
        is_begun = bool(unwanted)
        unwanted.update(dict.fromkeys(filter(channel.is_open, ids)))
        if unwanted and not is_begun:
            asyncio.get_running_loop().call_soon(self._cancel_some, channel, unwanted)

    def _cancel_some(self, channel: KernelChannel, unwanted: dict[int, None]) -> None:
        begun_s = time.thread_time()
        numbers = list(islice(unwanted, PORTION))
        whose = [(number, self._whose(number)) for number in numbers if channel.closed(number)]
        self._answers.cancel(filter(None, [one.end(number) for number, one in whose if one is not None]))
        for number in numbers:
            del unwanted[number]
        if unwanted:
            asyncio.get_running_loop().call_soon(self._cancel_some, channel, unwanted)
        channel.charge(time.thread_time() - begun_s)

    def forget(self) -> None:
        """The kernel is gone, and the ids of another one mean other questions."""
        self._unwanted = {}
