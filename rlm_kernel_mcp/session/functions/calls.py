"""The calls of functions that a session's code makes: to the program that drives the session, or to its desk.

Is: which call may be made, how many at once, and what becomes of each. Nothing of this is asked twice, kept or counted
as a question to a model: functions have effects. Is not: a function, which runs where the driver is, nor the channel
(`session/asking/`). Belongs to one event loop. Above: `session/boards/`. Below: `offered.py`, `session/parked/desk.py`,
`session/answering/keeping.py`, `kernel/untrusted/values.py`.

Arguments are a kernel's, and so hostile: they are written anew before anybody has them, and never more than JSON.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.kernel.untrusted.values import NotPlain, plain_json, plain_object
from rlm_kernel_mcp.questions_wire import GIVEN_CHARS_MAX, SubcallsRequest
from rlm_kernel_mcp.session.answering.keeping import Books, Entry, Said, Spent
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Give, Given, Question
from rlm_kernel_mcp.session.functions.offered import HostFunction, listed
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.pile import Parked
from rlm_kernel_mcp.session.parked.reports import AnswerGiven
from rlm_kernel_mcp.text.safe_text import safe_prefix

CALLS_MAX: Final = 100_000
"""Of one session: each is in its trace."""
AT_ONCE: Final = 64
"""Calls that a program has to answer at a time; the others wait here."""
CHARS_AT_ONCE: Final = 4_000_000
"""Of their arguments, unless a single call has more."""
WORDS_CHARS_MAX: Final = 2_000
"""Of a function's own words on why it gives nothing."""
PROGRAM: Final = "program"
"""Names in the trace a program that called its own function."""

CONSOLE: Final = Failed("refused", "No function is called for a console's cell, which its driver knows nothing of.")
STOPPED: Final = Failed("stopped", "Nobody waits for what the function gives any more.")
LATE: Final = Failed("timeout", "Nobody called the function in time; whoever drives the session may be gone.")

Gave = Callable[[str | None, str | None], None]
"""Takes the JSON of what a function gave, or its words on why it gave nothing."""


class Callee(Protocol):
    """A program that runs a step and has functions of its own. Nothing here waits, or raises."""

    @property
    def names(self) -> Collection[str]:
        """Of its functions."""

    def call(self, number: int, name: str, arguments: str, gave: Gave) -> None:
        """Call a function with a JSON object; `gave` is called once, from the event loop, now or later."""

    def drop(self, number: int) -> None:
        """Nobody waits for that call any more."""


@dataclass(slots=True, eq=False)
class _Call:
    question: Question
    arguments: str
    give: Give
    begun_s: float
    parked: Parked | None = None
    is_begun: bool = False
    """Whether a program has it."""


class FunctionCalls:
    """One session's."""

    def __init__(
        self, session_id: str, offered: Sequence[HostFunction], desk: Desk, books: Books, used: int = 0
    ) -> None:
        """`used`: how many calls the session has made already."""
        self.offered = tuple(offered)
        self.desk = desk
        self._session_id, self._books, self._used = session_id, books, used
        self._names = frozenset(one.name for one in offered)
        self._callee: Callee | None = None
        self._is_program = False
        self._open: dict[int, _Call] = {}
        self._queued: dict[int, _Call] = {}
        """Calls for a program that has enough of them, or whose kernel does not take its answers."""
        self._with_program = self._chars = 0
        self._held = False

    def request(self, *, calls_alone: bool) -> SubcallsRequest:
        """What a kernel is told of them with its channel. `calls_alone`: and that no model is asked."""
        return {"functions": {one.name: one.description for one in self.offered}, "calls_alone": calls_alone}

    def drive(self, callee: Callee | None, *, is_program: bool) -> None:
        """A step begins. `callee`: the program that runs it and has functions; else an agent answers at the desk."""
        self._callee, self._is_program = callee, is_program

    def ask(self, question: Question, give: Give) -> None:
        """Make a call. `give` is called once, unless it is cancelled before."""
        call = _Call(question, question.text or "", give, _now_s())
        if (why := self._refusal(call)) is not None:
            self._book(call, why)
            give(why)
            return
        self._used += 1
        self._open[question.number] = call
        if self._callee is not None:
            self._queued[question.number] = call
            self._pump()
        else:
            self.desk.heard()
            on_end = partial(self._answered, call)
            call.parked = self.desk.put(
                question.prompt, call.arguments, None, step_index=question.step_index, on_end=on_end, kind="function"
            )

    def _refusal(self, call: _Call) -> Failed | None:
        """Why it is not made. Its arguments are written anew here."""
        question = call.question
        if question.source == "console":
            return CONSOLE
        name = question.prompt
        if name not in self._names:
            return Failed("refused", f"There is no function {name!r}; this session offers {listed(self.offered)}.")
        if self._used >= CALLS_MAX:
            return Failed("too_many", f"A session may call functions {CALLS_MAX:,} times, and has.")
        if self._is_program and (self._callee is None or name not in self._callee.names):
            return Failed("refused", f"The program that runs this step has no function {name}.")
        try:
            call.arguments = plain_object(call.arguments)
        except NotPlain as error:
            return Failed("refused", f"What {name} is called with {error}.")
        return None

    # --- to a program

    def _pump(self) -> None:
        while self._queued and self._callee is not None and not self._held:
            number, call = next(iter(self._queued.items()))
            is_full = self._with_program >= AT_ONCE or self._chars + len(call.arguments) > CHARS_AT_ONCE
            if self._with_program and is_full:
                return
            del self._queued[number]
            call.is_begun = True
            self._with_program, self._chars = self._with_program + 1, self._chars + len(call.arguments)
            self._callee.call(number, call.question.prompt, call.arguments, partial(self._gave, call))

    def _gave(self, call: _Call, text: str | None, error: str | None) -> None:
        """A program's function has ended; perhaps nobody waits any more."""
        if self._open.pop(call.question.number, None) is not None:
            self._let_go(call)
            self._end(call, _given(call.question.prompt, text, error), PROGRAM)
            self._pump()

    def _let_go(self, call: _Call) -> None:
        if call.is_begun:
            self._with_program, self._chars = self._with_program - 1, self._chars - len(call.arguments)

    # --- to an agent

    def _answered(self, call: _Call, answer: AnswerGiven | None, by: str) -> None:
        """The desk has an answer, or does not wait any longer."""
        del self._open[call.question.number]
        if answer is None:
            self._end(call, LATE, "")
        else:
            self._end(call, _given(call.question.prompt, answer.text, answer.error), f"agent:{by or PROGRAM}")

    # --- ends

    def cancel(self, numbers: Iterable[int], why: Failed = STOPPED) -> None:
        """Nobody waits for these any more, which is booked as `why`."""
        for number in numbers:
            if (call := self._open.pop(number, None)) is None:
                continue
            self._queued.pop(number, None)
            self._let_go(call)
            if call.parked is not None:
                self.desk.drop(call.parked)
            elif call.is_begun and self._callee is not None:
                self._callee.drop(number)
            self._book(call, why)
        self._pump()

    def hold(self, held: bool) -> None:
        """While held, no program gets a further call: the kernel does not take its answers."""
        self._held = held
        self._pump()

    def _end(self, call: _Call, given: Given, by: str) -> None:
        call.give(given)
        # After the answer is on its way: what is written of it is not waited for.
        asyncio.get_running_loop().call_soon(self._book, call, given, by)

    def _book(self, call: _Call, given: Given, by: str = "") -> None:
        is_made = call.is_begun or call.parked is not None
        spent = Spent(attempts=int(is_made), duration_ms=int((_now_s() - call.begun_s) * 1000))
        answer = given.text if isinstance(given, Answered) else None
        code = None if isinstance(given, Answered) else given.code
        entry = Entry(
            call.question,
            "",
            "failed" if answer is None else "answered",
            answer,
            code,
            said=Said(by=by),
            spent=spent,
        )
        self._books.write(self._session_id, entry)


def drive(calls: FunctionCalls | None, callee: Callee | None, *, is_program: bool) -> None:
    """A step of a session begins, which may have no functions. Raises: InvalidInput: `callee` has others."""
    offered = () if calls is None else calls.offered
    if callee is not None and (others := sorted(set(callee.names).difference(one.name for one in offered))):
        has = f"offers {listed(offered)}" if offered else "was opened without functions"
        raise InvalidInput(f"The session does not offer {', '.join(others)}: it {has}.", "Open another one with them.")
    if calls is not None:
        calls.drive(callee, is_program=is_program)


def _given(name: str, text: str | None, error: str | None) -> Given:
    """What the kernel is told. What a function gives is looked at too: it may pass on what came from anywhere."""
    if text is None:
        return Failed("declined", safe_prefix(error or "", WORDS_CHARS_MAX)[0])
    if len(text) > GIVEN_CHARS_MAX:
        most = f"and a call is answered by at most {GIVEN_CHARS_MAX:,}"
        return Failed("too_large", f"{name} gave {len(text):,} characters of JSON, {most}.")
    try:
        return Answered(plain_json(text))
    except NotPlain as problem:
        return Failed("declined", f"What {name} gave {problem}.")


def _now_s() -> float:
    return asyncio.get_running_loop().time()
