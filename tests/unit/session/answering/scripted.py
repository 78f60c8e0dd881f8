"""A clock, a backend and books that do what a test says."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.backends.protocol import Answer, Asked, Facts
from rlm_kernel_mcp.session.answering.keeping import Entry, Kept
from rlm_kernel_mcp.session.answering.questions import Answered, Failed, Given, Question
from rlm_kernel_mcp.session.reports import Guardrails, SubcallsUsed

T = TypeVar("T")


FACTS: Final = Facts("scripted", "there", "m", ("m2",))


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("nothing would ever happen any more")
        if not ready:
            self.now_s += timeout or 0.0
        return ready


class ScriptedLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while there is something to do, and else goes to the next timer at once."""

    def __init__(self, look_s: float = 0.0) -> None:
        """`look_s`: how far it goes on with each look at it, as on a machine that is busy with something else."""
        self._jumping, self._look_s = _JumpingSelector(), look_s
        super().__init__(self._jumping)

    def time(self) -> float:
        self._jumping.now_s += self._look_s
        return self._jumping.now_s


def played(main: Callable[[], Awaitable[T]], look_s: float = 0.0) -> T:
    """The result of a coroutine on a loop with a scripted clock."""

    async def run() -> T:
        return await main()

    with asyncio.Runner(loop_factory=partial(ScriptedLoop, look_s)) as runner:
        return runner.run(run())


async def passes(seconds: float) -> None:
    """So much of the scripted time."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    timer = loop.call_later(seconds, over.set_result, None)
    try:
        await over
    finally:
        timer.cancel()


@dataclass
class ScriptedBackend:
    """Answers `echo of PROMPT` after `delay_s`, or does what the script says of a prompt, call by call."""

    script: dict[str, list[Answer | BaseException]] = field(default_factory=dict)
    delay_s: Callable[[Asked], float] = lambda asked: 1.0
    facts: Facts = FACTS
    calls: list[tuple[float, str]] = field(default_factory=list)
    """When which prompt was asked."""
    ended: list[str] = field(default_factory=list)
    """Prompts whose call was cancelled."""
    under_way: int = 0
    most: int = 0
    is_closed: bool = False
    on_end: Callable[[], None] = lambda: None
    """Called when an answer is made."""

    async def answer(self, asked: Asked) -> Answer:
        self.calls.append((asyncio.get_running_loop().time(), asked.prompt))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await passes(self.delay_s(asked))
        except asyncio.CancelledError:
            self.ended.append(asked.prompt)
            raise
        finally:
            self.under_way -= 1
        self.on_end()
        said = self.script.get(asked.prompt)
        outcome = said.pop(0) if said else Answer(f"echo of {asked.prompt}", 10, 3, None, "m-1")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def close(self) -> None:
        self.is_closed = True

    @property
    def prompts(self) -> list[str]:
        return [prompt for _, prompt in self.calls]


@dataclass
class ScriptedBooks:
    """Keeps answers in a dict; `is_slow`: a look-up has to be waited for."""

    answers: dict[str, Kept] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    missed: list[list[int]] = field(default_factory=list)
    """What each call has told."""
    is_slow: bool = False
    who: set[str] = field(default_factory=set)

    def kept_at_once(self, keys: Sequence[str]) -> Mapping[str, Kept] | None:
        return None if self.is_slow else {key: self.answers[key] for key in keys if key in self.answers}

    async def kept(self, keys: Sequence[str]) -> Mapping[str, Kept]:
        await passes(0.25)
        return {key: self.answers[key] for key in keys if key in self.answers}

    def keep(self, session_id: str, key: str, answer: Kept) -> None:
        del session_id
        self.answers[key] = answer

    def write(self, session_id: str, entry: Entry) -> int:
        del session_id
        self.entries.append(entry)
        return len(self.entries)

    def note_missed(self, session_id: str, row_ids: Sequence[int]) -> None:
        del session_id
        self.missed.append(list(row_ids))

    async def settled(self, session_id: str) -> None:
        """It is where it is read."""

    def flush(self) -> None:
        """As above."""

    def totals(self, session_id: str) -> tuple[int, int, float]:
        del session_id
        return 0, 0, 0.0

    def answerers(self, session_id: str) -> set[str]:
        del session_id
        return self.who

    def fates(self) -> list[tuple[int, str]]:
        return [(entry.question.number, entry.error_code or entry.fate) for entry in self.entries]


@dataclass
class ScriptedDay:
    """So many questions are left today."""

    left: int
    asked_for: list[int] = field(default_factory=list)

    async def grant(self, wanted: int) -> int:
        self.asked_for.append(wanted)
        await passes(0.1)
        granted = min(wanted, self.left)
        self.left -= granted
        return granted

    def give_back(self, unused: int) -> None:
        self.left += unused


class Givens:
    """What questions were given, by number, and who has to wait for all of them can."""

    def __init__(self) -> None:
        self.given: dict[int, Given] = {}
        self.times: dict[int, float] = {}
        self._wanted: dict[int, asyncio.Future[None]] = {}

    def taker(self, number: int) -> Callable[[Given], None]:
        wanted = self._wanted[number] = asyncio.get_running_loop().create_future()

        def take(given: Given) -> None:
            assert number not in self.given, "it was given twice"
            self.given[number] = given
            self.times[number] = asyncio.get_running_loop().time()
            wanted.set_result(None)

        return take

    async def all(self, *numbers: int) -> None:
        await asyncio.gather(*(self._wanted[number] for number in numbers or self._wanted))

    def __getitem__(self, number: int) -> str:
        """The answer's text, or the code of the failure."""
        given = self.given[number]
        return given.text if isinstance(given, Answered) else given.code

    def message(self, number: int) -> str:
        given = self.given[number]
        assert isinstance(given, Failed)
        return given.message


class Turns:
    """Counts what is done in each turn of the loop, which is how long others wait for theirs: no clock says it here."""

    def __init__(self) -> None:
        self.done = self.most = self._in_this = 0
        """In all; the most in one turn."""

    def note(self) -> None:
        """Something is done."""
        if not self._in_this:
            asyncio.get_running_loop().call_soon(self._begin_another)
        self.done += 1
        self._in_this += 1
        self.most = max(self.most, self._in_this)

    def _begin_another(self) -> None:
        self._in_this = 0


def account(subcalls: int = 100_000, tokens: int = 1_000_000_000, used: int = 0) -> Account:
    """A session that may ask so much, and has asked so many questions."""
    made = Account(Guardrails(max_subcalls=subcalls, subcall_tokens_limit=tokens))
    made.subcalls = SubcallsUsed(used)
    return made


def question(number: int, prompt: str = "", **fields: Any) -> Question:
    """One of step 1 and batch 1, unless it says otherwise."""
    whole: dict[str, Any] = {"text": None, "step_index": 1, "batch": 1} | fields
    return Question(number, prompt or f"question {number}", **whole)
