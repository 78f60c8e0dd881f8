"""The calls of functions that a session's code makes: to the program that drives the session, or to its desk.

Is: which call may be made, how many at once, and what becomes of each. Nothing of this is asked twice, kept or counted
as a question to a model: functions have effects. Is not: a function, which runs where the driver is, nor the channel
(`session/asking/`). Belongs to one event loop. Above: `session/boards/`. Below: `offered.py`, `callee.py`,
`booking.py`, `plain.py`, `session/parked/desk.py`.

Arguments are a kernel's, and so hostile: they are written anew before anybody has them, and never more than JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.questions_wire import SubcallsRequest
from rlm_kernel_mcp.session.answering.keeping import Books
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Give, Given, Question
from rlm_kernel_mcp.session.functions.booking import Booking, Ended
from rlm_kernel_mcp.session.functions.callee import Callee
from rlm_kernel_mcp.session.functions.offered import HostFunction, listed
from rlm_kernel_mcp.session.functions.plain import AT_ONCE_CHARS, given_by, plain_arguments, plain_timed
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.pile import Parked
from rlm_kernel_mcp.session.parked.reports import PROGRAM, AnswerGiven

CALLS_MAX: Final = 100_000
"""Of one session: each is in its trace."""
AT_ONCE: Final = 64
"""Calls that a program has to answer at a time; the others wait here."""
CHARS_AT_ONCE: Final = 4_000_000
"""Of their arguments, unless a single call has more."""

CONSOLE: Final = Failed("refused", "No function is called for a console's cell, which its driver knows nothing of.")
STOPPED: Final = Failed("stopped", "Nobody waits for what the function gives any more.")
LATE: Final = Failed("timeout", "Nobody called the function in time; whoever drives the session may be gone.")


@dataclass(slots=True, eq=False)
class _Program:
    """A program that has functions, and what it has of them: also of calls that nobody waits for any more."""

    callee: Callee
    calls: int = 0
    chars: int = 0


@dataclass(slots=True, eq=False)
class _Call:
    question: Question
    arguments: str
    give: Give
    begun_s: float
    parked: Parked | None = None
    program: _Program | None = None
    """Which has it."""
    given: Given | None = None
    """What the program has given, where a thread of it has said so."""

    @property
    def is_answered(self) -> bool:
        """Whether the kernel has what was given, though the loop has not heard of it."""
        at_once = self.question.at_once
        return at_once is not None and at_once.is_sent

    def ended(self, given: Given, by: str = "") -> Ended:
        """As it is booked: it ends now."""
        is_made = self.program is not None or self.parked is not None
        return Ended(self.question, given, is_made, self.begun_s, _now_s(), by)


class FunctionCalls:
    """One session's."""

    def __init__(
        self, session_id: str, offered: Sequence[HostFunction], desk: Desk, books: Books, used: int = 0
    ) -> None:
        """`used`: how many calls the session has made already."""
        self.offered = tuple(offered)
        self.desk = desk
        self._booking, self._used = Booking(session_id, books), used
        self._names = frozenset(one.name for one in offered)
        self._program: _Program | None = None
        self._is_program = False
        self._open: dict[int, _Call] = {}
        self._unread: dict[int, _Call] = {}
        """Calls whose arguments take a while to read."""
        self._reading: asyncio.Task[None] | None = None
        self._queued: dict[int, _Call] = {}
        """Calls for a program that has enough of them, or whose kernel does not take its answers."""
        self._looking: set[asyncio.Task[None]] = set()
        """Look at what functions gave, where that takes a while."""
        self._held = False
        self._charge: Callable[[float], None] = lambda used_s: None
        """Told what reading arguments has used of this process's processor time, beside the turn in which they came."""

    def open(self, charge: Callable[[float], None], *, alone: bool) -> SubcallsRequest:
        """A kernel gets a channel, with this said of them. `charge`: of that; `alone`: no model is asked there."""
        self._charge = charge
        return {"functions": {one.name: one.description for one in self.offered}, "calls_alone": alone}

    def drive(self, callee: Callee | None, *, is_program: bool) -> None:
        """A step begins. `callee`: the program that runs it and has functions; else an agent answers at the desk."""
        self._is_program = is_program
        if callee is None:
            self._program = None
        elif self._program is None or self._program.callee is not callee:
            self._program = _Program(callee)

    def hear(self) -> None:
        """End what the kernel has its answer to already: a clock is about to be read, or a step to be ended."""
        if self._program is not None:
            self._program.callee.hear()

    def settle(self) -> None:
        """A step is about to end: nothing of it is put off any more."""
        self.hear()
        self._booking.settle()

    def ask(self, question: Question, give: Give) -> None:
        """Make a call. `give` is called once, unless it is cancelled before."""
        call = _Call(question, question.text or "", give, _now_s())
        if (why := self._refusal(question)) is not None:
            self._refuse(call, why)
            return
        self._used += 1
        self._open[question.number] = call
        if len(call.arguments) <= AT_ONCE_CHARS and not self._unread:
            self._read(call, *plain_arguments(call.arguments))
            return
        self._unread[question.number] = call
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_slowly(), name="arguments of functions")

    def _refusal(self, question: Question) -> Failed | None:
        """Why it is not made, whatever its arguments are."""
        name = question.prompt
        if question.source == "console":
            return CONSOLE
        if name not in self._names:
            return Failed("refused", f"There is no function {name!r}; this session offers {listed(self.offered)}.")
        if self._used >= CALLS_MAX:
            return Failed("too_many", f"A session may call functions {CALLS_MAX:,} times, and has.")
        if self._is_program and (self._program is None or name not in self._program.callee.names):
            return Failed("refused", f"The program that runs this step has no function {name}.")
        return None

    async def _read_slowly(self) -> None:
        """In a thread, one session's at a time: a turn of the loop is others' too."""
        try:
            while self._unread:
                number, call = next(iter(self._unread.items()))
                plain, why, used_s = await asyncio.to_thread(plain_timed, call.arguments)
                self._charge(used_s)
                if self._unread.pop(number, None) is call:  # else it was cancelled meanwhile
                    self._read(call, plain, why)
        finally:
            self._reading = None

    def _read(self, call: _Call, plain: str, why: str) -> None:
        """Its arguments are read: they are as they are passed on, or why they are not."""
        question = call.question
        if why:
            del self._open[question.number]
            self._refuse(call, Failed("refused", f"What {question.prompt} is called with {why}."))
            return
        call.arguments = plain
        if self._program is not None:
            self._queued[question.number] = call
            self._pump()
            return
        self.desk.heard(more=False)
        on_end, step_index = partial(self._answered, call), question.step_index
        call.parked = self.desk.put(question.prompt, plain, None, step_index=step_index, on_end=on_end, kind="function")

    def _refuse(self, call: _Call, why: Failed) -> None:
        self._booking.now(call.ended(why))
        call.give(why)

    # --- to a program

    def _pump(self) -> None:
        program = self._program
        while self._queued and program is not None and not self._held:
            number, call = next(iter(self._queued.items()))
            size = len(call.arguments)
            if program.calls and (program.calls >= AT_ONCE or program.chars + size > CHARS_AT_ONCE):
                return
            del self._queued[number]
            call.program, program.calls, program.chars = program, program.calls + 1, program.chars + size
            gave, at_once = partial(self._gave, call), partial(_answered_at_once, call)
            program.callee.call(number, call.question.prompt, call.arguments, gave, at_once)

    def _gave(self, call: _Call, text: str | None, error: str | None) -> None:
        """A program's function has ended, or was never begun; perhaps nobody waits any more."""
        program, number = call.program, call.question.number
        if program is not None:  # from here on it has it no more
            program.calls, program.chars = program.calls - 1, program.chars - len(call.arguments)
        if self._open.get(number) is call:
            if call.given is not None or text is None or len(text) <= AT_ONCE_CHARS:
                del self._open[number]
                self._end(call, call.given or given_by(call.question.prompt, text, error))
            else:
                task = asyncio.create_task(self._look_and_end(call, text), name="what a function gave")
                self._looking.add(task)
                task.add_done_callback(self._looking.discard)
        self._pump()

    async def _look_and_end(self, call: _Call, text: str) -> None:
        given = await asyncio.to_thread(given_by, call.question.prompt, text, None)
        if self._open.pop(call.question.number, None) is not None:
            self._end(call, given)

    # --- to an agent

    def _answered(self, call: _Call, answer: AnswerGiven | None, by: str) -> None:
        """The desk has an answer, or does not wait any longer."""
        del self._open[call.question.number]
        if answer is None:
            self._refuse(call, LATE)
            return
        is_looked_at = answer.is_plain and answer.text is not None
        given = (
            Answered(answer.text or "") if is_looked_at else given_by(call.question.prompt, answer.text, answer.error)
        )
        call.give(given)
        self._booking.now(call.ended(given, f"agent:{by or PROGRAM}"))

    # --- ends

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Nobody waits for these any more, which is booked as `why`."""
        for number in numbers:
            if (call := self._open.pop(number, None)) is None:
                continue
            self._queued.pop(number, None)
            self._unread.pop(number, None)
            if call.parked is not None:
                self.desk.drop(call.parked)
            if call.is_answered and call.given is not None:
                self._booking.now(call.ended(call.given, PROGRAM))
                continue
            self._booking.now(call.ended(why))
            if call.program is not None:  # it counts as the program's until that has said what became of it
                call.program.callee.drop(number)
        self._pump()

    def hold(self, held: bool) -> None:
        """While held, no program gets a further call: the kernel does not take its answers."""
        self._held = held
        self._pump()

    def _end(self, call: _Call, given: Given) -> None:
        """A program has answered it."""
        call.give(given)
        self._booking.soon(call.ended(given, PROGRAM))


def _answered_at_once(call: _Call, text: str | None, error: str | None) -> bool:
    """In a thread of the program: what is long is left to the loop, which has it looked at in a thread of its own."""
    at_once = call.question.at_once
    if at_once is None or len(text or "") > AT_ONCE_CHARS:
        return False
    call.given = given_by(call.question.prompt, text, error)
    return at_once(call.given)


def drive(calls: FunctionCalls | None, callee: Callee | None, *, is_program: bool) -> None:
    """A step of a session begins, which may have no functions. Raises: InvalidInput: `callee` has others."""
    offered = () if calls is None else calls.offered
    if callee is not None and (others := sorted(set(callee.names).difference(one.name for one in offered))):
        has = f"offers {listed(offered)}" if offered else "was opened without functions"
        raise InvalidInput(f"The session does not offer {', '.join(others)}: it {has}.", "Open another one with them.")
    if calls is not None:
        calls.drive(callee, is_program=is_program)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
