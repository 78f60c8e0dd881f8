"""Passes what a session's code asks on to whoever answers, and the answer back to the kernel.

Is: whether one question may be asked, its number, and how it waits. Is not: which request asks it (`questions.py`), nor
who answers (`session/answering/`). Above: `questions.py`. Below: `trials.py`, `channel.py`, `asking.py`,
`session/answering/questions.py`.
"""

from __future__ import annotations

import itertools
import sys
from functools import partial
from typing import Final

from rlm_kernel_mcp.kernel.untrusted.question_frames import Item, Wishes
from rlm_kernel_mcp.questions_wire import ITEM_CHARS_MAX
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Given, Question
from rlm_kernel_mcp.session.asking.answers import STOPPED, Answers
from rlm_kernel_mcp.session.asking.asking import Asking
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.trials import Trials

WAITED: Final = "The step has waited for answers for {limit:,} ms, which is its limit (wait_limit_ms)."


class Passing:
    """One session's."""

    def __init__(self, answers: Answers, account: Account) -> None:
        self._answers, self._account = answers, account
        self._numbers, self._call_numbers = itertools.count(1), itertools.count(1)
        self.trials = Trials()

    def ask_for(self, asking: Asking, channel: KernelChannel, wishes: Wishes, item: Item) -> None:
        """Pass a question on, or say why it has no answer."""
        if asking.is_stopped:
            channel.fail(item.id, STOPPED)
            return
        is_call = wishes.kind == "function"
        if item.chars > ITEM_CHARS_MAX:
            words = f"The question has {item.chars:,} characters, and may have {ITEM_CHARS_MAX:,}"
            refusal = Failed("too_large", f"{words}; cut the text into pieces.")
        elif asking.waiting.is_over:
            refusal = Failed("timeout", WAITED.format(limit=self._account.limits.wait_limit_ms))
        else:
            number = next(self._call_numbers if is_call else self._numbers)
            asking.begin(item.id, -number if is_call else number)
            is_for_a_child = wishes.kind == "rlm" and wishes.schema is not None
            channel.opened(item.id, size_of(wishes, item))
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
                look=partial(self.trials.look, channel, item.id) if is_for_a_child else None,
            )
            self._answers.ask(question, partial(self._given, channel, asking, item.id, wishes.schema is not None))
            return
        if not is_call:
            asking.refuse(refusal.code)
        channel.fail(item.id, refusal)

    def _given(self, channel: KernelChannel, asking: Asking, number: int, checked: bool, given: Given) -> None:
        if not channel.closed(number):
            return
        if isinstance(given, Answered):
            channel.give(number, True, given.text)
        else:
            channel.fail(number, given)
        asking.end(number, checked=checked and isinstance(given, Answered))  # the kernel does not wait for the account


def size_of(wishes: Wishes, item: Item) -> int:
    """About how many bytes of a question are held while it is open."""
    return item.size + sys.getsizeof(item.repair) + sys.getsizeof(wishes.schema)
