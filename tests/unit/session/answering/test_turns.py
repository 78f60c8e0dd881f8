"""Who is sent next, and what a session may spend, in every order of events."""

from __future__ import annotations

import itertools
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.session.answering.backends.protocol import Unanswered
from rlm_kernel_mcp.session.answering.keeping import Spent
from rlm_kernel_mcp.session.answering.ledger import Cost, Ledger, Limits, Prices, Used, Verdict
from rlm_kernel_mcp.session.answering.retrying import LONGEST_PAUSE_S, pause_s
from rlm_kernel_mcp.session.answering.turns import Turns

KINDS: Final = ("put", "take", "done", "drop", "later", "hold", "pass_")
EVENTS: Final = st.tuples(st.sampled_from(KINDS), st.integers(0, 9))


class Played:
    """Turns, and what has to be true of them."""

    def __init__(self, parallel: int, per_minute: int | None) -> None:
        self.turns: Turns[tuple[str, int]] = Turns(parallel, per_minute)
        self.parallel = parallel
        self.now_s = 0.0
        self.waiting: list[tuple[str, int]] = []
        self.under_way: list[tuple[str, int]] = []
        self.sent: list[tuple[str, int]] = []
        self.numbers = itertools.count()

    def put(self, number: int) -> None:
        self.waiting.append(("abc"[number % 3], next(self.numbers)))
        self.turns.put(self.waiting[-1][0], self.waiting[-1])

    def take(self, number: int = 0) -> bool:
        del number
        job = self.turns.take(self.now_s, lambda job: Verdict.GO)
        if job is None:
            return False
        self.waiting.remove(job)
        self.under_way.append(job)
        self.sent.append(job)
        assert len(self.under_way) == self.turns.active <= self.parallel
        return True

    def done(self, number: int) -> tuple[str, int] | None:
        if not self.under_way:
            return None
        self.turns.done()
        return self.under_way.pop(number % len(self.under_way))

    def drop(self, number: int) -> None:
        if self.waiting:
            job = self.waiting.pop(number % len(self.waiting))
            self.turns.drop(job[0], job)

    def later(self, number: int) -> None:
        if (job := self.done(number)) is not None:
            self.turns.put_later(job[0], job, self.now_s + number)
            self.waiting.append(job)
            self.sent.remove(job)

    def hold(self, number: int) -> None:
        self.turns.hold_until(self.now_s + number)

    def pass_(self, number: int) -> None:
        self.now_s += number

    def to_the_end(self) -> None:
        """Everybody is answered at once, and the clock goes where it has to."""
        while True:
            while self.done(0) is not None:
                pass
            if self.take():
                continue
            if not self.waiting:
                return
            wake_s = self.turns.wake_at(self.now_s)
            assert wake_s is not None, "nobody would ever look again"
            assert wake_s > self.now_s
            self.now_s = wake_s


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=60), st.integers(1, 3), st.one_of(st.none(), st.integers(1, 3)))
def test_in_every_order_of_events_nobody_is_forgotten_or_sent_twice(
    events: list[tuple[str, int]], parallel: int, per_minute: int | None
) -> None:
    """And never more at once than may be; in the end, each that was not dropped has had its turn."""
    played = Played(parallel, per_minute)
    for kind, number in events:
        getattr(played, kind)(number)
    played.to_the_end()
    assert len(played.sent) == len(set(played.sent))


def test_sessions_take_turns_and_one_that_waits_does_not_hold_up_the_others() -> None:
    """Each has one question sent before the first has its second; what may not be sent is taken out."""
    turns: Turns[str] = Turns(99)
    for job in ("a1", "a2", "a3", "b1", "b2", "c1"):
        turns.put(job[0], job)
    verdicts = {"b1": Verdict.WAIT, "a2": Verdict.NO}
    taken = iter(lambda: turns.take(0.0, lambda job: verdicts.get(job, Verdict.GO)), None)
    assert list(taken) == ["a1", "c1", "a3"]
    assert turns.waiting == 2
    assert turns.take(0.0, lambda job: Verdict.GO) == "b1"
    turns.put("b", "b3")
    assert turns.take_some(lambda job: job != "b9", 1) == ["b2"]
    assert turns.take_some(lambda job: job == "b9", 1) == []
    assert turns.waiting == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 100)), max_size=30),
    st.integers(0, 20),
    st.integers(0, 60_000),
)
def test_whatever_is_asked_no_more_is_spent_than_the_limits(
    questions: list[tuple[int, int]], subcalls: int, tokens: int
) -> None:
    """As long as a question takes no more than was set aside for it; and what was refused costs nothing."""
    ledger = Ledger(Limits(subcalls, tokens, 0.5), Used(), Prices((1.0, 10.0)), 2_000)
    under_way = list[Cost]()
    for utf8_bytes, share in questions:
        cost = ledger.cost(utf8_bytes)
        verdict = ledger.set_aside(cost)
        if verdict is Verdict.GO:
            under_way.append(cost)
        elif verdict is Verdict.WAIT:
            assert under_way
        else:
            assert ledger.lacks(1, cost.tokens_most, cost.usd_most)
        if share % 3 == 0 and under_way:
            done = under_way.pop(0)
            ledger.settle(done, Spent(done.tokens_most * share // 100, 0))
        used, left = ledger.used, ledger.left
        assert used.subcalls + left.subcalls + len(under_way) == subcalls
        assert used.tokens + left.tokens <= tokens
        assert used.usd <= 0.5
    for cost in under_way:
        ledger.give_back(cost)
    assert ledger.left.tokens == tokens - ledger.used.tokens


def test_the_pauses_before_a_retry_grow_to_a_bound_and_the_endpoint_s_own_word_goes_first() -> None:
    """A wait that is too long is none."""
    failed = Unanswered("backend", "", tries=9)
    assert [pause_s(failed, attempts, 1.0) for attempts in range(1, 7)] == [0.5, 1.0, 2.0, 4.0, LONGEST_PAUSE_S, 8.0]
    assert pause_s(failed, 1, 0.0) == 0.375
    assert pause_s(failed, 9, 0.0) is None
    assert pause_s(Unanswered("backend", ""), 1, 0.0) is None
    assert pause_s(Unanswered("rate_limited", "", 90.0, tries=5), 1, 0.0) == 90.0
    assert pause_s(Unanswered("rate_limited", "", 121.0, tries=5), 1, 0.0) is None
