"""A limit that is reached, and calls that were not served, in the record and for whoever watches.

Is: their events. Is not: the account, which says when a limit is reached, nor what the client is answered. Above:
`session/session.py`, `session/handles.py`. Below: `session/trace/journal.py`, `session/trace/facts.py`.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.errors import CitationMismatch, RlmError
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.reports import StepReport
from rlm_kernel_mcp.session.trace.events import summary_of
from rlm_kernel_mcp.session.trace.facts import refusal_facts, stop_facts
from rlm_kernel_mcp.session.trace.journal import Journal

REFUSED_MAX: Final = 100
"""Calls kept of one session that were not served: nothing keeps a client from asking on."""


class LimitEvents:
    """One session's."""

    def __init__(self, journal: Journal, account: Account) -> None:
        self._journal, self._account = journal, account
        self._refused = 0

    def watch(self) -> None:
        """From now on, write down and tell that a limit is reached, after whatever is done then."""
        before = self._account.on_stop

        def reached() -> None:
            before()
            self._reached()

        self._account.on_stop = reached

    def _reached(self) -> None:
        limit, index = self._account.stop, self._account.counters.step_index
        words = f"limit reached: {limit}; no further step runs"
        row = self._journal.event("stop", index, limit or "", words, self._account, **stop_facts(limit))
        self._journal.telling.limit_reached(row, self._account)

    def stopped(self, report: StepReport, code: str) -> StepReport:
        """A limit has refused a step; returns what its client is told."""
        facts = stop_facts(self._account.stop) | {"code_chars": len(code)}
        index, summary = report.step_index, summary_of(code)
        row = None
        if self._is_kept():
            row = self._journal.event("refused", index, report.status, summary, self._account, **facts)
        self._journal.telling.stopped(report, row)
        return report

    def refused(self, error: RlmError) -> None:
        """A call was answered with an error. Of those the record has answers whose citations failed."""
        index, summary = self._account.counters.step_index, summary_of(error.message)
        row = None
        if isinstance(error, CitationMismatch) and self._is_kept():
            facts = refusal_facts(error)
            row = self._journal.event("refused", index, error.code, summary, self._account, **facts)
        self._journal.telling.refused(error, row)

    def _is_kept(self) -> bool:
        self._refused += 1
        return self._refused <= REFUSED_MAX
