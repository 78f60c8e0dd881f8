"""Sessions in a store that have nothing but a record, for tests of what the live page is told of one.

Is: what a server would write, without a kernel. Is not: anything of pytest's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.evidence.citations import Checked, Coverage
from rlm_kernel_mcp.session.reports import Guardrails, LossReport
from rlm_kernel_mcp.session.steps.outcomes import Outcome
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.database.looking import LookedAt
from rlm_kernel_mcp.store.store import SessionRecord, Store

NOTHING: Final = Checked((), Coverage(0)).record()
"""What an answer cites."""


class Recorded:
    """One session, driven by this process."""

    def __init__(self, directory: Path, session_id: str = "s_1", **columns: Any) -> None:
        self.store = Store.open(directory)
        self.session_id = session_id
        self.store.add_session(SessionRecord(session_id, "2026-11-30T12:00:00Z", "text", "idle", **columns))
        self.lock = self.store.acquire(session_id)
        self.journal, self.account = Journal(self.store, session_id), Account(Guardrails())

    def begin(self, code: str = "code") -> int:
        """A step begins; returns its row."""
        row_id = self.journal.step_begins(self.account.begin_step(), code, self.account)
        self.journal.counters_changed(self.account, "running")
        return row_id

    def end(self, row_id: int, status: Any = "ok", **outcome: Any) -> None:
        self.journal.step_ended(row_id, Outcome(status, 1, **outcome), self.account)
        self.journal.counters_changed(self.account, "idle")

    def step(self, code: str = "code", **outcome: Any) -> int:
        row_id = self.begin(code)
        self.end(row_id, **outcome)
        return row_id

    def interrupt(self) -> None:
        step = self.account.counters.step_index
        self.journal.event("interrupt", step, "ok", "SIGINT", self.account, rung="sigint", cause="timeout_ms")

    def restore(self, loss: LossReport) -> None:
        self.journal.restored(self.account.counters.step_index, "killed", self.account, loss)

    def finalize(self, answer: str = "the answer", evidence: dict[str, Any] | None = None) -> None:
        self.journal.closed("finalized", final_answer=answer)
        step = self.account.counters.step_index
        self.journal.final(step, "completed", "text", answer, self.account, evidence or NOTHING)

    def close(self) -> None:
        if self.lock is not None:
            self.lock.release()
        self.store.close()


def looked_at(directory: Path) -> Store:
    """The same store, for who only looks."""
    return Store(directory, LookedAt(directory))
