"""The account of a session: what is counted, and when a limit stops it."""

from __future__ import annotations

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import Guardrails, Left


def _account(**limits: int) -> Account:
    return Account(Guardrails(**limits))


def test_the_step_that_reaches_max_steps_stops_the_session() -> None:
    """Stop when step_index >= max_steps; the step itself has run."""
    account = _account(max_steps=2)
    assert account.admit(1) is None
    assert account.begin_step() == 1
    assert account.check() is None
    assert account.admit(1) is None
    assert account.begin_step() == 2
    assert account.check() == "max_steps"
    assert account.admit(1) == "max_steps"


def test_runtime_counts_only_what_is_charged() -> None:
    """Time in which a step executes; thinking time is nobody's business."""
    account = _account(max_runtime_ms=100)
    account.charge_runtime(99)
    assert account.check() is None
    account.charge_runtime(1)
    assert account.check() == "timeout"


def test_code_and_delivered_output_use_the_budget() -> None:
    """Both directions count in characters."""
    account = _account(budget_limit=10)
    assert account.admit(4) is None
    account.charge_chars(5)
    assert account.check() is None
    assert account.left == Left(64, 120_000, 1)
    account.charge_chars(1)
    assert account.check() == "budget_exceeded"


def test_code_longer_than_what_is_left_is_not_admitted() -> None:
    """It would pass the budget before it ran; it is not charged either."""
    account = _account(budget_limit=10)
    assert account.admit(11) == "budget_exceeded"
    assert account.counters.budget_used == 0


def test_the_first_limit_reached_stays_the_reason() -> None:
    """`guardrail_stop` does not change its mind."""
    account = _account(max_steps=1, budget_limit=1)
    account.begin_step()
    assert account.check() == "max_steps"
    account.charge_chars(5)
    assert account.check() == "max_steps"


def test_what_is_left_is_never_negative() -> None:
    """A last charge may pass a limit by what a step used."""
    account = _account(max_runtime_ms=1)
    account.charge_runtime(50)
    assert account.left.runtime_left_ms == 0


class Taking:
    """A step that runs, and has taken so long by now."""

    elapsed_ms = 70

    def limit_again(self, runtime_left_ms: int) -> None:
        """It is not looked at."""


def test_a_snapshot_has_what_the_step_that_runs_has_taken_by_now() -> None:
    """As the budget of a reply to whoever waits for the step; at its end that is charged."""
    account = _account(max_runtime_ms=1_000)
    account.charge_runtime(200)
    account.running = Taking()
    assert account.snapshot()["runtime_ms"] == 270
    account.running = None
    assert (account.snapshot()["runtime_ms"], account.left.runtime_left_ms) == (200, 800)
