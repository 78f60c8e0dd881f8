"""What a child session may use, and what is charged to those above it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.keeping import Spent
from rlm_kernel_mcp.session.answering.ledger import Ledger, Limits, Prices, Used, Verdict
from rlm_kernel_mcp.session.answering.questions import Answerer, Failed
from rlm_kernel_mcp.session.children.shares import share_of
from rlm_kernel_mcp.session.reports import Counters, Guardrails, Left
from rlm_kernel_mcp.session.watching.events import used_of

LEFT: Final = Left(40, 80_000, 20_000, 101, 10_000)
ANSWERER: Final = Answerer("b", "m", ("m",), "w", 1, 1, 1, 1, "h")


def test_children_that_are_asked_for_together_have_equal_parts_of_half_of_what_is_left() -> None:
    limits = Guardrails(step_timeout_ms=9_000, wait_limit_ms=7)
    assert share_of(LEFT, limits, 2) == Guardrails(10, 20_000, 5_000, 9_000, 24, 2_500, 7)
    assert share_of(LEFT, limits, 10) == Guardrails(2, 4_000, 1_000, 4_000, 4, 500, 7)


@pytest.mark.parametrize(
    ("left", "of", "why"),
    [
        (LEFT, 21, "Half of what is left, divided by 21, is less than one step for each child session"),
        (LEFT, 102, "101 questions are left, and 102 were asked together."),
        (replace(LEFT, subcalls_left=1), 2, "1 question is left, and 2 were asked together."),
        (replace(LEFT, subcall_tokens_left=1), 1, "is less than one token for each child session"),
        (replace(LEFT, chars_left=1), 1, "is less than one character for each child session"),
    ],
)
def test_a_part_that_is_too_small_to_work_with_is_refused(left: Left, of: int, why: str) -> None:
    found = share_of(left, Guardrails(), of)
    assert isinstance(found, Failed)
    assert found.code == "budget"
    assert why in found.message


def test_what_a_child_uses_its_parents_have_used_too() -> None:
    """Steps, time and characters; and a limit that is reached above stops the child before its next step."""
    top, child, below = (Account(Guardrails(max_steps=10, max_runtime_ms=1_000, budget_limit=100)) for _ in range(3))
    child.parent, below.parent = top, child
    below.begin_step()
    below.charge_runtime(300)
    below.charge_chars(40)
    assert (top.left, child.left) == (Left(9, 700, 60), Left(9, 700, 60))
    assert (top.counters.step_index, top.counters.child_steps, top.used_steps) == (0, 1, 1)
    recorded = top.recorded()
    assert Account(top.limits, Counters(**recorded)).left == top.left
    assert used_of(top)["steps"] == 1
    top.charge_runtime(700)
    assert below.left.runtime_left_ms == 0
    assert (below.admit(1), below.stop) == ("timeout", "timeout")
    assert top.stop is None  # its own step decides


def test_a_question_of_a_child_is_set_aside_and_settled_on_every_level() -> None:
    charged = list[tuple[str, int, int]]()

    def ledger(name: str, limits: Limits) -> Ledger:
        def told(calls: int, tokens: int) -> None:
            charged.append((name, calls, tokens))

        return Ledger(limits, Used(), Prices((1.0, 1.0)), 0, told)

    top, child = ledger("top", Limits(3, 1_000, 1.0)), ledger("child", Limits(2, 800))
    child.above = top
    cost = child.cost(800)  # 400 tokens at most
    assert child.set_aside(cost) is Verdict.GO
    assert (child.left, top.left) == (Limits(1, 400, 1.0 - cost.usd_most), Limits(2, 600, 1.0 - cost.usd_most))
    spent = child.settle(cost, Spent(tokens_in=100, tokens_out=20, attempts=1))
    assert charged == [("child", 1, 120), ("top", 1, 120)]
    assert (child.used.tokens, top.used.tokens, top.used.usd) == (120, 120, spent.usd)
    assert (child.spent_here.tokens_in, child.spent_here.tokens_out) == (100, 20)


def test_a_child_never_waits_for_what_its_parent_has_set_aside() -> None:
    """The parent's open question is the one that waits for the child."""
    top, child = Ledger(Limits(2, 500), Used(), Prices(), 0), Ledger(Limits(2, 500), Used(), Prices(), 0)
    child.above = top
    assert top.set_aside(top.cost(600)) is Verdict.GO
    assert child.set_aside(child.cost(600)) is Verdict.NO
    assert child.lacks(1, 300, 0.0) == "200 of 500 tokens are left"


class Step:
    """A step that runs."""

    elapsed_ms = 200
    timeout_ms = 0

    def limit_again(self, runtime_left_ms: int) -> None:
        self.timeout_ms = runtime_left_ms


def test_what_children_may_use_is_nobody_else_s_before_they_have_ended() -> None:
    """Neither another child's, nor that of the step that runs; what they leave over is."""
    top, child, step = Account(Guardrails(max_runtime_ms=1_000)), Account(Guardrails(max_runtime_ms=400)), Step()
    top.answerer, top.running, child.parent = ANSWERER, step, top
    assert top.free.runtime_left_ms == 800
    first, second = top.lend(Guardrails(max_runtime_ms=400)), top.lend(Guardrails(max_runtime_ms=200))
    assert (top.free.runtime_left_ms, step.timeout_ms) == (200, 400)
    first.by = child
    child.charge_runtime(100)  # which is the parent's too
    assert (top.left.runtime_left_ms, top.free.runtime_left_ms) == (900, 200)
    top.take_back(first)
    assert (top.free.runtime_left_ms, step.timeout_ms) == (500, 700)
    top.take_back(second)
    assert step.timeout_ms == 900
