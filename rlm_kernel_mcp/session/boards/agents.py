"""Who answers where the agent that drives a session answers its code's questions itself.

Is: a broker for each session, whose questions wait at a desk of their own. Is not: the desk (`session/parked/`), or a
call of the agent's (`session/calls/`). Above: `choice.py`. Below: `parking.py`, `session/answering/switchboard.py`.

Nothing leaves this way that the agent could not have had printed. What it answers is kept for its own session alone,
since whoever answered may have been talked into it by the data. The day's limit counts what is paid for by the user's
key, and none of this.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.backends.protocol import Facts
from rlm_kernel_mcp.session.answering.broker import Broker
from rlm_kernel_mcp.session.answering.keeping import Books, NoBooks
from rlm_kernel_mcp.session.answering.switchboard import Ceilings, made_broker
from rlm_kernel_mcp.session.boards.parking import Parking
from rlm_kernel_mcp.session.parked.desk import Desk
from rlm_kernel_mcp.session.parked.pile import LEASE_S, PATIENCE_S

AGENT: Final = Facts(
    name="agent",
    where="this agent",
    model="",
    how="a step that asks has status needs_answers; answer its questions by rlm_answer, or have sub-agents do it",
    for_steps_alone=True,
    wait_limit_ms=1_800_000,
    more="RLM_SUBCALL_MAX, or an endpoint",
)
AGENT_CEILINGS: Final = Ceilings(subcalls=200)


class AgentBoard:
    """One registry's (`Switchboard` of `session/asking/answers.py`). Belongs to its event loop."""

    def __init__(
        self,
        ceilings: Ceilings = AGENT_CEILINGS,
        books: Books | None = None,
        *,
        lease_s: float = LEASE_S,
        patience_s: float = PATIENCE_S,
        is_reached_by_others: bool = True,
    ) -> None:
        """Without `books` nothing is kept. `is_reached_by_others`: as `Desk` has it."""
        self._ceilings = ceilings
        self._books = books or NoBooks()
        self._lease_s, self._patience_s, self._is_reached_by_others = lease_s, patience_s, is_reached_by_others

    def broker(self, session_id: str, account: Account, *, is_new: bool = False) -> Broker:
        """A session's own; as `Switchboard.broker` of `session/answering/switchboard.py`."""
        facts = replace(AGENT, form=f"{AGENT.form} {session_id}")  # no other session finds an answer under its key
        of_all = self._is_reached_by_others
        desk = Desk(session_id, self._lease_s, self._patience_s, is_reached_by_others=of_all)
        parking = Parking(desk, self._ceilings.subcalls)
        of = (session_id, account, facts, self._ceilings)
        return made_broker(*of, sender=parking, books=self._books, is_new=is_new)

    async def settled(self, session_id: str) -> None:
        """Wait until the trace has all that is known of a session's questions."""
        await self._books.settled(session_id)

    async def close(self) -> None:
        """There is nothing under way: what waits is stopped with its step."""
        self._books.flush()
