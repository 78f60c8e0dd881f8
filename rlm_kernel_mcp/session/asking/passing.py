"""Passes what a session's code asks on to whoever answers, and the answer back to the kernel.

Is: whether one question may be asked, its number, and how it waits. Is not: which request asks it (`questions.py`), nor
who answers (`session/answering/`). Above: `questions.py`. Below: `trials.py`, `sending.py`, `channel.py`, `asking.py`,
`session/answering/questions.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from functools import partial
from typing import Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.answers import is_ok
from rlm_kernel_mcp.kernel.untrusted.question_frames import Item, Wishes
from rlm_kernel_mcp.questions_wire import ITEM_CHARS_MAX, SEND_CONTEXT, SendContextRequest
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.questions import Answered, Coming, Failed, Given, Question
from rlm_kernel_mcp.session.asking.answers import STOPPED, Answers
from rlm_kernel_mcp.session.asking.asking import Asking
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.sending import AtOnce
from rlm_kernel_mcp.session.asking.trials import Trials
from rlm_kernel_mcp.session.snapshots.requests import pass_descriptor

SEND_S: Final = 10.0
"""So long a kernel may take to answer that it sends a text: the thread that asks does that."""
WAITED: Final = "The step has waited for answers for {limit:,} ms, which is its limit (wait_limit_ms)."


class Passing:
    """One session's."""

    def __init__(self, answers: Answers, account: Account) -> None:
        self._answers, self._account = answers, account
        self._numbers, self._call_numbers = itertools.count(1), itertools.count(1)
        self.trials = Trials()
        self.kernel: Kernel | None = None
        """Whose code asks just now."""

    def ask_for(self, asking: Asking, channel: KernelChannel, wishes: Wishes, item: Item) -> None:
        """Pass a question on, or say why it has no answer."""
        if asking.is_stopped:
            channel.fail(item.id, STOPPED)
            return
        is_call = wishes.kind == "function"
        chars = item.chars
        if item.coming and self._answers.answerer().depth > 1:  # else a model is asked, which is given no such text
            chars -= item.coming
        if chars > ITEM_CHARS_MAX:
            words = f"The question has {chars:,} characters, and may have {ITEM_CHARS_MAX:,}"
            refusal = Failed("too_large", f"{words}; cut the text into pieces.")
        elif asking.waiting.is_over:
            refusal = Failed("timeout", WAITED.format(limit=self._account.limits.wait_limit_ms))
        else:
            number = next(self._call_numbers if is_call else self._numbers)
            asking.begin(item.id, -number if is_call else number)
            is_for_a_child = wishes.kind == "rlm" and wishes.schema is not None
            channel.opened(item.id, size_of(wishes, item))
            at_once = AtOnce(channel.sender, item.id, asking.waiting.now) if is_call else None
            question = Question(
                number=number,
                prompt=item.prompt,
                text=item.text,
                step_index=asking.index,
                source=asking.source,
                batch=0 if is_call else wishes.batch,  # all calls of a step are one event of its trace
                schema=wishes.schema,
                model=wishes.model,
                fresh=wishes.fresh,
                repair=item.repair,
                kind=wishes.kind,
                of=wishes.of,
                at_once=at_once,
                coming=Coming(item.coming, partial(_send, self.kernel, item.id)) if item.coming else None,
                look=partial(self.trials.look, channel, item.id) if is_for_a_child else None,
            )
            is_checked = wishes.schema is not None
            self._answers.ask(question, partial(self._given, channel, asking, item.id, is_checked, at_once))
            return
        if not is_call:
            asking.refuse(refusal.code)
        channel.fail(item.id, refusal)

    def _given(
        self,
        channel: KernelChannel,
        asking: Asking,
        number: int,
        checked: bool,
        at_once: AtOnce | None,
        given: Given,
    ) -> None:
        if not channel.closed(number):
            return
        at = None if at_once is None else at_once.moment
        if at is not None:
            channel.sender.write_rest()
        elif isinstance(given, Answered):
            channel.give(number, True, given.text)
        else:
            channel.fail(number, given)
        # The kernel does not wait for the account.
        asking.end(number, checked=checked and isinstance(given, Answered), at=at)


async def _send(kernel: Kernel | None, number: int, writer: int) -> None:
    """Have the thread that waits for a question write its long text into a pipe. Raises: KernelDied."""
    request: SendContextRequest = {"id": number}
    if kernel is None:
        os.close(writer)
        raise KernelDied("The kernel whose code asks is gone.")
    pass_descriptor(kernel, writer)  # and nothing is awaited before its request is sent
    try:
        async with asyncio.timeout(SEND_S):
            reply = await kernel.client.request(SEND_CONTEXT, request)
    except TimeoutError:
        raise KernelDied(f"The kernel did not begin to send a child's text within {SEND_S:.0f} s.") from None
    if not is_ok(reply.content):
        raise KernelDied("Nobody in the kernel waits for the child whose text is to be sent.")


def size_of(wishes: Wishes, item: Item) -> int:
    """About how many bytes of a question are held while it is open."""
    return item.size + sys.getsizeof(item.repair) + sys.getsizeof(wishes.schema)
