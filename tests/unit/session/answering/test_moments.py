"""A question is sent when its time comes, however late the moment is at which anybody looks."""

from __future__ import annotations

from typing import Final

import pytest

from rlm_kernel_mcp.session.answering.backends.protocol import Unanswered
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, Switchboard
from rlm_kernel_mcp.session.answering.turns import MINUTE_S
from tests.unit.session.answering.scripted import Givens, ScriptedBackend, account, played, question

LOOK_S: Final = 0.001
"""The clock goes on by so much whenever somebody looks at it."""
LOOKS: Final = [(half + 0.5) * LOOK_S for half in range(40)]
"""Between any two looks one of these is over."""


@pytest.mark.parametrize("code", ["backend", "rate_limited"])
def test_a_pause_that_ends_while_somebody_looks_whose_turn_it_is_is_not_slept_through(code: str) -> None:
    """Else the question would wait for ever: nothing is under way whose end would have anybody look again."""

    async def play() -> None:
        for pause_s in LOOKS:
            backend, givens = ScriptedBackend({"a": [Unanswered(code, "busy", pause_s, tries=2)]}), Givens()
            board = Switchboard(backend)
            board.broker("s", account()).ask(question(1, "a"), givens.taker(1))
            await givens.all()
            assert (givens[1], backend.prompts) == ("echo of a", ["a", "a"])
            await board.close()

    played(play, LOOK_S)


def test_a_minute_that_ends_while_somebody_looks_whose_turn_it_is_is_not_slept_through() -> None:
    """The limit of questions in a minute is waited for as a pause is."""

    async def play() -> None:
        for early_s in LOOKS:
            backend, givens = ScriptedBackend(delay_s=lambda asked: MINUTE_S - early_s), Givens()  # noqa: B023
            board = Switchboard(backend, Ceilings(per_minute=1))
            broker = board.broker("s", account())
            for number in (1, 2):
                broker.ask(question(number), givens.taker(number))
            await givens.all()
            assert len(backend.calls) == 2
            await board.close()

    played(play, LOOK_S)
