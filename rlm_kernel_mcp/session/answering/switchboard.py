"""Who answers the sessions of one registry: a backend, and what its sessions share of it.

Is: the parts put together, and the user's ceilings above what a session asks for. Is not: which backend the settings
mean (`session/boards/choice.py`). Above: `session/boards/choice.py`, `session/boards/agents.py`. Below:
`session/account.py`, `broker.py`, `sending.py`, `keeping.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.answering.backends.protocol import Backend, Facts
from rlm_kernel_mcp.session.answering.broker import Broker
from rlm_kernel_mcp.session.answering.jobs import Job, Sending
from rlm_kernel_mcp.session.answering.keeping import Books, NoBooks
from rlm_kernel_mcp.session.answering.ledger import Ledger, Limits, Prices, Used
from rlm_kernel_mcp.session.answering.questions import Failed
from rlm_kernel_mcp.session.answering.sending import DEADLINE_S, Day, Sender
from rlm_kernel_mcp.session.answering.turns import Turns
from rlm_kernel_mcp.session.reports import SubcallsUsed


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the user allows; a session may ask for less."""

    subcalls: int = 1_000
    tokens: int = 2_000_000
    usd: float | None = None
    price_usd: tuple[float, float] | None = None
    """Of a million tokens, in and out."""
    parallel: int = 16
    per_minute: int | None = None
    deadline_s: float = DEADLINE_S


class Switchboard:
    """One registry's. Belongs to its event loop."""

    def __init__(
        self,
        backend: Backend,
        ceilings: Ceilings | None = None,
        books: Books | None = None,
        day: Day | None = None,
    ) -> None:
        """Without `books` nothing is kept, without `day` sessions alone have limits."""
        self._ceilings = ceilings or Ceilings()
        self._facts = backend.facts
        self._books = books or NoBooks()
        turns: Turns[Job] = Turns(self._ceilings.parallel, self._ceilings.per_minute)
        self._sender = Sender(backend, turns, day, self._ceilings.deadline_s)

    def broker(self, session_id: str, account: Account, *, is_new: bool = False) -> Broker:
        """A session's own, within the lower one of each limit. Its account is charged.

        Unless it `is_new`, this reads the trace: a server that was killed in a step had not recorded what that spent.
        """
        of = (session_id, account, self._facts, self._ceilings)
        return made_broker(*of, sender=self._sender, books=self._books, is_new=is_new)

    async def settled(self, session_id: str) -> None:
        """Wait until the trace has all that is known of a session's questions."""
        await self._books.settled(session_id)

    async def close(self) -> None:
        """End what is under way. Safe to call twice."""
        await self._sender.close()
        self._books.flush()


def made_broker(  # noqa: PLR0913 (what a broker is made of)
    session_id: str,
    account: Account,
    facts: Facts,
    ceilings: Ceilings,
    *,
    sender: Sending,
    books: Books,
    is_new: bool,
) -> Broker:
    """A session's, within the lower one of each limit; as `Switchboard.broker`."""
    calls, tokens, usd = (0, 0, 0.0) if is_new else books.totals(session_id)
    account.subcalls = SubcallsUsed(max(account.subcalls.calls, calls), max(account.subcalls.tokens, tokens))
    asked, used = account.limits, account.subcalls
    limits = Limits(
        min(asked.max_subcalls, ceilings.subcalls), min(asked.subcall_tokens_limit, ceilings.tokens), ceilings.usd
    )
    spent = Used(used.calls, used.tokens, usd)  # dollars are in the trace alone
    prices, told = Prices(ceilings.price_usd), account.charge_subcalls
    ledger = Ledger(limits, spent, prices, facts.output_tokens, told, facts.more)
    account.left_of_subcalls = lambda: {
        "subcalls_left": ledger.left.subcalls,
        "subcall_tokens_left": ledger.left.tokens,
    }
    off = None if is_new else _off(facts, books.answerers(session_id))
    return Broker(session_id, sender, facts, ledger, books, off)


def _off(facts: Facts, answered_before: set[str]) -> Failed | None:
    """Why nobody answers a session: another user's settings have begun it, and their key is not ours."""
    others = {one for one in answered_before if not facts.is_named(one)}
    if not others:
        return None
    what = f"{' and '.join(sorted(others))} answered this session before, and now {facts.identity} would"
    return Failed("off", f"{what}; a session stays with one. Open a new one.")
