"""The questions of one session's code, from its kernel's channel to who answers them, and back.

Is: `Answering` (`session/kernels/answering.py`) of a session in which somebody answers: which request asks, and what
becomes of the open questions at its end. Is not: whether one may be asked (`passing.py`), who answers, what that costs
(`session/answering/`), or the bytes (`channel.py`). Above: `session/reopening.py`. Below: `channel.py`, `asking.py`,
`passing.py`, `ends.py`, `session/answering/questions.py`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Final

from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.untrusted.answers import is_ok
from rlm_kernel_mcp.kernel.untrusted.question_frames import (
    Ask,
    BudgetAsked,
    Cancel,
    ForecastAsked,
    Frame,
    Item,
    Looked,
    Missed,
    Wishes,
)
from rlm_kernel_mcp.questions_wire import CHANNEL_THREADS, SUBCALLS, BudgetRow
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.questions import Failed, Sketch
from rlm_kernel_mcp.session.asking.answers import STOPPED, Answers
from rlm_kernel_mcp.session.asking.asking import Asking
from rlm_kernel_mcp.session.asking.cells import Cells
from rlm_kernel_mcp.session.asking.channel import KernelChannel
from rlm_kernel_mcp.session.asking.ends import Ends
from rlm_kernel_mcp.session.asking.passing import WAITED, Passing, size_of
from rlm_kernel_mcp.session.asking.room import QuestionRoom
from rlm_kernel_mcp.session.asking.waiting import Waiting
from rlm_kernel_mcp.session.functions.calls import FunctionCalls
from rlm_kernel_mcp.session.snapshots.requests import pass_descriptor
from rlm_kernel_mcp.session.steps.run import RunningStep

OPEN_S: Final = 20.0
SKETCH_BYTES: Final = 100
"""About what one question of a forecast takes while that is made."""
SKETCH_S: Final = 0.00001
"""About what the look for its answer takes of a processor, in whichever thread."""


class Questions:
    """One session's."""

    def __init__(
        self, answers: Answers, account: Account, room: QuestionRoom, functions: FunctionCalls | None = None
    ) -> None:
        """`functions`: that the code may call; `answers` has their calls answered too."""
        self._answers, self._account, self._room, self.functions = answers, account, room, functions
        self.desk, self._passing = answers.desk, Passing(answers, account)
        self._kernel: Kernel | None = None
        self._channel: KernelChannel | None = None
        self._asking: Asking | None = None
        self._cells: Cells | None = None
        self._ends = Ends(answers, self._whose)
        self._forecasts: set[asyncio.Task[None]] = set()
        self._forecasting = asyncio.Lock()
        """One at a time: it takes threads that others wait for."""

    async def open(self, kernel: Kernel) -> None:
        """Give a kernel its channel, in the place of the one before. Raises: KernelDied."""
        self.close()
        self._ends.hold(False)
        self._answers.end_step(0, "console")  # another kernel counts its batches anew
        self._kernel = self._passing.kernel = kernel
        channel = KernelChannel(self._room)
        self._channel = channel
        self._cells = Cells(kernel.client, self._began, self._stop)
        channel.on_frame = partial(self._on_frame, channel)
        channel.on_full = self._ends.hold
        channel.on_closed = partial(self._on_closed, channel)
        channel.on_broken = partial(_break_off, kernel)
        ours, theirs = socket.socketpair()
        with theirs:
            channel.sender.wire = ours
            await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=ours)
            pass_descriptor(kernel, theirs.detach())  # and nothing is awaited before its request is sent
        request = self.functions.open(channel.charge, alone=self._account.answerer is None) if self.functions else {}
        try:
            async with asyncio.timeout(OPEN_S):
                reply = await kernel.client.request(SUBCALLS, request)
        except TimeoutError:
            raise KernelDied(f"The kernel did not take its channel for questions within {OPEN_S:.0f} s.") from None
        if not is_ok(reply.content):
            raise KernelDied("The kernel did not take its channel for questions.")
        kernel.base_threads += CHANNEL_THREADS

    def close(self) -> None:
        """Let go of the channel: its kernel is replaced, or gone."""
        channel, self._channel = self._channel, None
        self._ends.forget()
        self._passing.trials.forget()
        if self._cells is not None:
            self._cells.close()
        if channel is not None:
            channel.close()

    def _on_closed(self, channel: KernelChannel) -> None:
        if channel is self._channel:
            self.close()
            self._stop(self._asking)
            self._ends.hold(False)

    @contextmanager
    def serving(self, step: RunningStep) -> Iterator[None]:
        """Answer what a step asks, up to its end."""
        asking = self._asking = self._began(step)
        step.subcalls, step.on_stop = asking.report, partial(self._stop, asking)
        if self._channel is not None:
            self._channel.grant()
        try:
            yield
        finally:
            self._stop(asking)
            asking.conclude()
            self._asking = None

    def _began(self, step: RunningStep | str) -> Asking:
        """A step, or a console's cell with that `msg_id`, may ask from now on."""
        kernel = self._kernel
        assert kernel is not None  # neither begins in a kernel that was not given its channel
        waiting = Waiting(self._account.limits.wait_limit_ms, kernel.process.cpu_ms)
        asking = Asking(step, waiting, self._answers.tally)
        waiting.on_limit = partial(self._on_limit, asking)
        waiting.on_look = self._hear
        return asking

    def _whose(self, number: int) -> Asking | None:
        """Who waits for an open question, or has its answer."""
        step, cells = self._asking, () if self._cells is None else self._cells.running
        if step is not None and step.knows(number):
            return step
        return next((cell for cell in cells if cell.knows(number)), None)

    def _hear(self) -> None:
        """What a program's thread has answered is no wait any more, though the loop was not woken for it."""
        if self.functions is not None:
            self.functions.hear()

    # --- frames

    def _on_frame(self, channel: KernelChannel, frame: Frame) -> None:
        self._hear()
        if self.desk is not None:
            self.desk.heard(more=frame.more if isinstance(frame, Ask) else None)
        match frame:
            case Ask():
                for item in frame.items:
                    self._ask(channel, frame.step, frame.wishes, item)
            case Cancel():
                self._passing.trials.forget(set(frame.ids).__contains__)
                self._ends.cancel(channel, frame.ids)
            case Looked():
                self._passing.trials.said(frame.id, frame.why)
            case Missed():
                self._missed(frame.ids)
                channel.give(frame.id, True, None)
            case BudgetAsked():
                channel.give(frame.id, True, self._budget())
            case ForecastAsked():
                size = SKETCH_BYTES * len(frame.items)
                forecast = partial(self._forecast, channel=channel, frame=frame, size=size)
                self._with_who(channel, frame.step, frame.id, size, forecast)

    def _ask(self, channel: KernelChannel, step: str, wishes: Wishes, item: Item) -> None:
        if self._asking is not None and self._asking.msg_id == step:
            self._passing.ask_for(self._asking, channel, wishes, item)
            return
        ask = partial(self._passing.ask_for, channel=channel, wishes=wishes, item=item)
        self._with_who(channel, step, item.id, size_of(wishes, item), ask)

    def _with_who(
        self, channel: KernelChannel, step: str, number: int, size: int, ask: Callable[[Asking], None]
    ) -> None:
        """Find out who asks, and go on; what may not ask is answered."""
        if self._asking is not None and self._asking.msg_id == step:
            ask(self._asking)
        elif self._cells is not None and self._cells.may_be_one(step):
            channel.opened(number, size)  # while it is not known
            self._cells.find(step, partial(self._with_cell, channel, number, ask))
        else:
            channel.fail(number, STOPPED)

    def _with_cell(
        self, channel: KernelChannel, number: int, ask: Callable[[Asking], None], cell: Asking | None
    ) -> None:
        if channel.closed(number):
            if cell is None:
                channel.fail(number, STOPPED)
            else:
                ask(cell)

    def _missed(self, ids: Sequence[int]) -> None:
        whose = ((number, self._whose(number)) for number in ids)
        known = (one.answered.pop(number, None) for number, one in whose if one is not None)
        self._answers.missed([number for number in known if number is not None])

    def _budget(self) -> BudgetRow:
        left, subcalls, answerer = self._account.left, self._answers.left(), self._answers.answerer()
        running_ms = self._asking.elapsed_ms if self._asking is not None else 0
        return {
            "steps": left.steps_left,
            "runtime_ms": max(0, left.runtime_left_ms - running_ms),
            "chars": left.chars_left,
            "subcalls": subcalls.subcalls,
            "subcall_tokens": subcalls.tokens,
            "subcall_usd": subcalls.usd,
            "parallel": answerer.parallel,
            "depth": answerer.depth,
            "backend": answerer.backend,
        }

    def _forecast(self, asking: Asking, channel: KernelChannel, frame: ForecastAsked, size: int) -> None:
        if asking.is_stopped:
            channel.fail(frame.id, STOPPED)
            return
        asking.begin(frame.id, 0)
        channel.opened(frame.id, size)
        task = asyncio.create_task(self._made_forecast(channel, asking, frame), name="forecast of sub-calls")
        self._forecasts.add(task)
        task.add_done_callback(self._forecasts.discard)

    async def _made_forecast(self, channel: KernelChannel, asking: Asking, frame: ForecastAsked) -> None:
        async with self._forecasting:
            if not channel.is_open(frame.id):
                return
            channel.charge(SKETCH_S * len(frame.items))
            sketches, wishes = list(map(Sketch._make, frame.items)), frame.wishes
            found = await self._answers.forecast(sketches, wishes.schema, wishes.model, wishes.fresh)
        if channel.closed(frame.id):
            asking.end(frame.id)
            if (refusal := found.refusal) is not None and wishes.batch:  # of a whole batch that was to be asked
                asking.refuse(refusal.code, len(frame.items))
            row = {**asdict(found), "refusal": refusal and (refusal.code, refusal.message)}
            channel.give(frame.id, True, row)

    # --- the end of a step, and of its patience

    def _stop(self, asking: Asking | None) -> None:
        """It is over, or is to be: whatever it waits for does not come any more."""
        if asking is not None and not asking.is_stopped:
            if self.functions is not None:
                self.functions.settle()
            asking.stop()
            self._passing.trials.forget(asking.knows)
            self._ends.end(asking, STOPPED, self._channel)

    def _on_limit(self, asking: Asking) -> None:
        """It has waited as long as it may: its code goes on."""
        given = Failed("timeout", WAITED.format(limit=self._account.limits.wait_limit_ms))
        self._ends.end(asking, given, self._channel)


def _break_off(kernel: Kernel, reason: str) -> None:
    """The kernel broke the rules, and nothing more is read from it."""
    kernel.client.close(reason)
    kernel.process.kill()
