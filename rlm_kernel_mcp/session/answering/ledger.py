"""What the questions of one session may cost: reserved before one is sent, settled by what the backend reports.

Is: counting. Is not: the day's ceiling of all sessions (`books.py`), nor how many are asked at once (`turns.py`).
Sans-I/O. Above: `broker.py`. Below: `questions.py`, `keeping.py`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rlm_kernel_mcp.session.answering.keeping import NOTHING, Spent
from rlm_kernel_mcp.session.answering.questions import Failed, Forecast

MILLION: Final = 1_000_000
USD_DIGITS: Final = 6
"""Of a sum that is told."""
EXPECTED_BYTES: Final = 4
"""Bytes of UTF-8 in a token, as English and code have them."""
LEAST_BYTES: Final = 2
"""The same of a text that has many tokens: no tokenizer is at hand, and a reserve must not be too small."""
TOO_MANY: Final = "Put several items into one question, or ask fewer; more is the user's to allow ({by})."
TOO_LONG: Final = (
    "Ask fewer, or about less text; more is the user's to allow (RLM_SUBCALL_MAX_TOKENS, RLM_SUBCALL_MAX_USD)."
)


class Verdict(enum.Enum):
    """Whether a question may be sent."""

    GO = enum.auto()
    WAIT = enum.auto()
    """Not while the others are under way, which may use less than is set aside for them."""
    NO = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may use. None: no limit."""

    subcalls: int
    tokens: int
    usd: float | None = None

    def within(self, above: Limits) -> Limits:
        """The lower one of each."""
        usd = [one for one in (self.usd, above.usd) if one is not None]
        return Limits(min(self.subcalls, above.subcalls), min(self.tokens, above.tokens), min(usd, default=None))


@dataclass(frozen=True, slots=True)
class Used:
    """What it has used."""

    subcalls: int = 0
    tokens: int = 0
    usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one question: what is expected, and what is set aside for it."""

    tokens_expected: int
    tokens_most: int
    usd_expected: float
    usd_most: float

    @property
    def most(self) -> str:
        """In words."""
        usd = f" and ${self.usd_most:.4f}" if self.usd_most else ""
        return f"{self.tokens_most:,} tokens{usd}"

    def and_more(self, tokens: int, usd: float) -> Cost:
        """The same, with more set aside."""
        return replace(self, tokens_most=self.tokens_most + tokens, usd_most=self.usd_most + usd)


@dataclass(frozen=True, slots=True)
class Prices:
    """Dollars for a million tokens, in and out; None: not known."""

    usd: tuple[float, float] | None = None

    def of(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost."""
        if self.usd is None:
            return None
        return (tokens_in * self.usd[0] + tokens_out * self.usd[1]) / MILLION


class Ledger:
    """One session's."""

    def __init__(
        self,
        limits: Limits,
        used: Used,
        prices: Prices,
        output_tokens: int,
        spent: Callable[[int, int], None] = lambda calls, tokens: None,
        more: str = "RLM_SUBCALL_MAX",
    ) -> None:
        """`output_tokens`: the most that an answer may have. `spent`: is told of each question that was sent.

        `more`: as `Facts` of a backend has it.
        """
        self._spent, self._more = spent, more
        self.limits = limits
        self._prices = prices
        self._output_tokens = output_tokens
        self._subcalls, self._tokens, self._usd = used.subcalls, used.tokens, used.usd
        self._open = 0
        self._tokens_set_aside, self._usd_set_aside = 0, 0.0
        self.spent_here = NOTHING
        """What was used since it was made."""
        self.above: Ledger | None = None
        """That of the session whose code has asked for this one: what is spent here is spent there too."""
        self._is_waited_for = False
        self.freed: Callable[[], object] = lambda: None
        """Told when something is given back for which a question waits: a child gives back too, and nobody else tells
        who sends this session's questions."""

    @property
    def used(self) -> Used:
        return Used(self._subcalls, self._tokens, self._usd)

    @property
    def left(self) -> Limits:
        """What may still be used; what is set aside counts as used."""
        usd = self.limits.usd
        own = Limits(
            max(0, self.limits.subcalls - self._subcalls - self._open),
            max(0, self.limits.tokens - self._tokens - self._tokens_set_aside),
            None if usd is None else max(0.0, usd - self._usd - self._usd_set_aside),
        )
        return own if self.above is None else own.within(self.above.left)

    def cost(self, utf8_bytes: int) -> Cost:
        """Of a question of so many bytes."""
        expected, most_in = -(-utf8_bytes // EXPECTED_BYTES), -(-utf8_bytes // LEAST_BYTES)
        return Cost(
            expected,
            most_in + self._output_tokens,
            self._prices.of(expected, 0) or 0.0,
            self._prices.of(most_in, self._output_tokens) or 0.0,
        )

    def lacks(self, calls: int, tokens: int, usd: float) -> str:
        """Which limit is in the way of so much more, in words; empty where none is."""
        left = self.left
        if calls > left.subcalls:
            return f"{left.subcalls:,} of {self.limits.subcalls:,} questions are left"
        if tokens > left.tokens:
            return f"{left.tokens:,} of {self.limits.tokens:,} tokens are left"
        if left.usd is not None and (usd > left.usd or left.usd <= 0):  # what it will cost may not be known
            of = "" if self.limits.usd is None else f" of ${self.limits.usd:.2f}"
            return f"${left.usd:.2f}{of} are left"
        return ""

    def too_much(self, cost: Cost) -> str:
        """Why a question of this cost is not asked, in words. Where none is left its size is not what decides."""
        size = f", with up to {cost.most}," if self.left.subcalls else ""
        return f"The question{size} does not fit: {self.lacks(1, cost.tokens_most, cost.usd_most)}. It was not asked."

    def set_aside(self, cost: Cost) -> Verdict:
        """Before a question is sent: reserve the most that it can cost, if it may be sent."""
        if self.lacks(1, cost.tokens_most, cost.usd_most):
            # Never for what others of the session above have set aside: one of them waits for this one.
            could_be_less = self._open > 0 and self.limits.subcalls > self._subcalls + self._open
            self._is_waited_for |= could_be_less
            return Verdict.WAIT if could_be_less else Verdict.NO
        self._reserve(cost.tokens_most, cost.usd_most, 1)
        return Verdict.GO

    def _reserve(self, tokens: int, usd: float, calls: int = 0) -> None:
        self._open += calls
        self._tokens_set_aside += tokens
        self._usd_set_aside += usd
        if self.above is not None:
            self.above._reserve(tokens, usd, calls)

    def set_aside_again(self, cost: Cost, tokens_in: int, tokens_out: int, usd: float | None) -> Cost | str:
        """Before a question is sent once more: what its last attempt has used is not there for the next one any more.

        Returns what is set aside for it now, or which limit is in the way.
        """
        tokens, usd = tokens_in + tokens_out, usd or self._prices.of(tokens_in, tokens_out) or 0.0
        if lack := self.lacks(0, tokens, usd):
            return lack
        self._reserve(tokens, usd)
        return cost.and_more(tokens, usd)

    def give_back(self, cost: Cost) -> None:
        """It was not sent after all."""
        self._open -= 1
        self._tokens_set_aside -= cost.tokens_most
        self._usd_set_aside = max(0.0, self._usd_set_aside - cost.usd_most) if self._open else 0.0
        if self._is_waited_for:
            self._is_waited_for = False
            self.freed()
        if self.above is not None:
            self.above.give_back(cost)

    def settle(self, cost: Cost, spent: Spent) -> Spent:
        """It was sent, and this is what it took; returns that with the price, where one is known."""
        self.give_back(cost)
        usd = self._prices.of(spent.tokens_in, spent.tokens_out) if spent.usd is None else spent.usd
        spent = replace(spent, usd=usd)
        self._spend(spent)
        return spent

    def _spend(self, spent: Spent) -> None:
        self._subcalls += 1
        self._tokens += spent.tokens_in + spent.tokens_out
        self._usd += spent.usd or 0.0
        self.spent_here = self.spent_here.and_more(spent)
        self._spent(1, spent.tokens_in + spent.tokens_out)
        if self.above is not None:
            self.above._spend(spent)

    def forecast(self, sizes: Sequence[int], seconds: float | None) -> Forecast:
        """What questions of so many bytes would take, and whether that fits."""
        calls = len(sizes)
        tokens = sum(-(-size // EXPECTED_BYTES) for size in sizes)
        usd = self._prices.of(tokens, 0)
        lack = self.lacks(calls, tokens, usd or 0.0)
        least = self.cost(min(sizes, default=0))
        if sizes and not lack and (lack := self.lacks(1, least.tokens_most, least.usd_most)):
            lack += f", and {least.most} are set aside for each"
        is_count = calls > self.left.subcalls
        size = "" if is_count else f" with about {tokens:,} tokens"
        why = f"{calls:,} questions{size} do not fit: {lack}. None of them was asked."
        what = f"{why} {TOO_MANY.format(by=self._more) if is_count else TOO_LONG}"
        return Forecast(
            calls=calls,
            tokens_expected=tokens,
            tokens_most=sum(-(-size // LEAST_BYTES) for size in sizes) + calls * self._output_tokens,
            seconds=None if seconds is None else round(seconds, 1),
            usd=None if usd is None else round(usd, USD_DIGITS),
            refusal=Failed("budget", what) if lack else None,
        )
