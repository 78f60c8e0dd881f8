"""Writes down what happens in a session, and reads it back.

Is: the translation between a session's events and the store's rows. Is not: the store, nor the event that a client
reads (`events.py`). Above: `session/session.py`, `session/handles.py`. Below: `store/store.py`. A step's row is written
before it runs, as `unknown`, and completed after: a kill at any moment leaves a truthful record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rlm_kernel_mcp.errors import InvalidInput, RlmError
from rlm_kernel_mcp.kernel.untrusted.reply import Reply
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.context_reports import ContextReport, LoadingReport
from rlm_kernel_mcp.session.reports import LossReport, SessionStatus, Wall
from rlm_kernel_mcp.session.seen.recorded import SEARCHED, searched_data
from rlm_kernel_mcp.session.steps.outcomes import Outcome, Outcomes
from rlm_kernel_mcp.session.trace import rows
from rlm_kernel_mcp.session.trace.console_room import ConsoleRoom
from rlm_kernel_mcp.session.trace.displayed import rows_of
from rlm_kernel_mcp.session.trace.events import EVIDENCE, summary_of, waits_json
from rlm_kernel_mcp.session.trace.facts import StepCosts, given, loss_facts
from rlm_kernel_mcp.session.watching.events import now
from rlm_kernel_mcp.session.watching.telling import Telling
from rlm_kernel_mcp.store.long_answers import NewAnswer, PagedText
from rlm_kernel_mcp.store.reading import in_reader
from rlm_kernel_mcp.store.store import EventRow, Store
from rlm_kernel_mcp.store.writer import AT_ONCE_CHARS, Writer
from rlm_kernel_mcp.text.wording import counted


class Journal:
    """The written record of one session."""

    def __init__(
        self,
        store: Store,
        session_id: str,
        outcomes: Outcomes | None = None,
        writer: Writer | None = None,
        telling: Telling | None = None,
    ) -> None:
        """`outcomes`, `writer`: the server's, which all journals share. Without a writer the caller itself writes."""
        self.telling = telling or Telling(session_id)
        self._outcomes = outcomes or Outcomes()
        self._store = store
        self._writer = writer
        self._session_id = session_id
        self._newest_step = self._newest_row = 0
        self._reported_problem: str | None = None
        self._console = ConsoleRoom()
        self._costs = StepCosts()

    @property
    def problem(self) -> str | None:
        """What is wrong with the store's disk, and how to fix it."""
        return self._store.problem if self._writer is None else self._writer.problem(self._session_id)

    def new_problem(self, other: str | None) -> str | None:
        """What is wrong with the disk, told once. `other`: what else is."""
        problem = self.problem or other
        told, self._reported_problem = self._reported_problem, problem
        return problem if problem != told else None

    @property
    def is_behind(self) -> bool:
        """Whether something is not written yet: what can be left out for now would only wait behind it."""
        return self._writer is not None and self._writer.is_behind(self._session_id)

    async def settled(self) -> None:
        """Wait until what was written down by now is in the record."""
        if self._writer is not None:
            await self._writer.settled(self._session_id)

    def _write(self, write: Callable[[], object], chars: int = 0) -> None:
        if self._writer is None:
            write()
        else:
            self._writer.do(self._session_id, write, chars)

    @staticmethod
    def now() -> str:
        """UTC, ISO 8601."""
        return now()

    def event(
        self, action: str, step_index: int, status: str, summary: str, account: Account, **facts: Any
    ) -> EventRow:
        """Write an event that is whole from the start. `facts`: what else is known of it, as `facts.py` has it."""
        return self._add(given(self._row(action, step_index, status, summary, account), facts))

    def restored(self, step_index: int, summary: str, account: Account, loss: LossReport) -> None:
        """Write that a kernel has replaced another, and what came back."""
        row = self._row("restore", step_index, "ok", summary, account)
        self._add(given(row, loss_facts(loss)), loss)

    def opened(
        self, context: ContextReport | LoadingReport, walls: Sequence[Wall], duration_ms: int, account: Account
    ) -> None:
        """Write the session's beginning, with the walls that hold its kernel."""
        row = self._row("init_context", 0, "ok", rows.opened_words(context, walls), account)
        row.duration_ms = duration_ms
        self._add(row)

    def loaded(
        self,
        action: str,
        context: ContextReport | None,
        name: str,
        failure: RlmError | None,
        duration_ms: int,
        account: Account,
    ) -> None:
        """Write that a context came, or why it did not, where that was not said with the session's beginning."""
        summary = f"{name}: {failure.message if failure is not None else rows.context_words(context)}"
        row = self._row(action, account.counters.step_index, failure.code if failure else "ok", summary, account)
        row.duration_ms = duration_ms
        self._add(row)

    def contexts_changed(self, first: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
        """Write which contexts the session has, and how to load them again."""
        self._update(context=json.dumps(first), context_ref=json.dumps(reference))

    def keep_context(self, text: str | None, name: str) -> None:
        """Keep the text of a context that was given inline, under its name in the store; None: it is not wanted."""
        store, session_id = self._store, self._session_id

        def keep() -> None:
            store.put_context(session_id, None if text is None else text.encode("utf-8", "surrogatepass"), name)

        self._write(keep, len(text or ""))

    def long_answer(self) -> NewAnswer:
        """Begin to write one that is too long for a row."""
        return self._store.long_answers.begin(self._session_id, self._store.mint())

    def final(
        self, step: int, reason: str, source: str, answer: str | PagedText, account: Account, evidence: dict[str, Any]
    ) -> None:
        """Write the final answer; `source` says what it was given as, `evidence` what it cites."""
        summary = f"final answer of {counted(len(answer), 'character')} from a {source}"
        summary += f"; cites {counted(count, 'passage')}" if (count := len(evidence["citations"])) else ""
        row = self._row("finalize", step, reason, summary, account)
        row.id, row.extra = self._store.mint(), json.dumps({EVIDENCE: evidence})
        self.telling.answered(row)
        self._write(lambda: self._store.add_final(row, answer), len(answer) + len(row.extra))

    def step_begins(self, index: int, code: str, account: Account) -> int:
        """Write a step's row before it runs; returns its id."""
        row = self._row("run_repl", index, "unknown", summary_of(code), account, code=code)
        session = self._counters(account, "running", row.ts)
        self._newest_step, self._newest_row = index, self._store.mint()
        self._costs.begin(len(code))
        row.id = self._newest_row  # made here, not by the database, since the row may be written later
        self._write(lambda: self._store.begin_event(row, session=session))
        return self._newest_row

    def step_goes_on(self, row_id: int, ms: int, stdout: str, stderr: str, waits: int = 0, **used: str) -> None:
        """Write how far a running step is, for who reads the record: its output, for how many answers it `waits`."""
        write = partial(self._store.note_progress, row_id, ms, stdout, stderr, extra=waits_json(waits), **used)
        self._write(write, len(stdout) + len(stderr))

    def step_ended(self, row_id: int, outcome: Outcome, account: Account) -> None:
        """Complete a step's row."""
        changes = rows.ended_fields(outcome, account.snapshot(), self._costs.end(outcome, rows.extra_json(outcome)))
        own_id, session = self._session_id, self._counters(account, "stopped" if account.stop else "idle")
        store, shown, passes = self._store, outcome.displays, outcome.used.passes

        def write() -> None:
            if shown:
                store.displays.add(own_id, row_id, rows_of(shown))
            also = store.seen.adding(own_id, store.mint(), row_id, SEARCHED, searched_data(passes))
            store.complete_event(row_id, session=session, of=own_id, also=also, **changes)

        # Two writes are for a thread, as a large one is.
        self._write(write, outcome.chars + (AT_ONCE_CHARS if shown else 0))

    def delivered(self, index: int, account: Account, status: SessionStatus, chars: int = 0, charged: int = 0) -> int:
        """Output of a step was delivered: write into the newest step's row what was used by then. Its id; 0: in none.

        `chars`, `charged`: how much was delivered, and what of the budget that took, with questions that were shown.
        """
        if index == self._newest_step:
            self._costs.add(chars, charged)
        if index != self._newest_step or status == "running":
            self.counters_changed(account, status)
            return 0
        own_id, row_id = self._session_id, self._newest_row
        changes = {"guardrail_snapshot": json.dumps(account.snapshot())}
        changes |= {} if (extra := self._costs.extra) is None else {"extra": extra}
        session = self._counters(account, status)
        self._write(lambda: self._store.amend_event(own_id, row_id, session=session, **changes))
        return row_id

    def remember(self, index: int, outcome: Outcome) -> None:
        """Keep a step's outcome in memory as well, as long as there is room."""
        self._outcomes.add(self._session_id, index, outcome)

    def remembered(self, index: int) -> Outcome | None:
        """A step's outcome, if it is in memory."""
        return self._outcomes.get(self._session_id, index)

    def forget(self) -> None:
        """Keep no outcome of the session in memory."""
        self._outcomes.forget(self._session_id)

    def outcome(self, index: int) -> Outcome | None:
        """A finished step as it was written, for a report after it left memory."""
        for row in self._store.events(self._session_id, index, index):
            if row.action == "run_repl" and row.source == "mcp" and row.code is not None:
                return rows.outcome_of(row, self._store.displays)
        return None

    async def finished(self, index: int, steps: int) -> Outcome:
        """A step that has ended, of those that there were. Raises: InvalidInput."""
        outcome = self.remembered(index) or await in_reader(lambda: self.outcome(index))
        if outcome is None:
            known = f"steps 1 to {steps}" if steps else "no step yet"
            raise InvalidInput(f"step_index={index} names no step of this session; it has {known}.")
        return outcome

    def console(self, reply: Reply, account: Account) -> None:
        """Write down a cell that someone ran from an attached console."""
        outcome, code = rows.console_outcome(reply), reply.code or ""
        row = self._row("run_repl", account.counters.step_index, outcome.status, summary_of(code), account, code=code)
        row.stdout, row.stderr, row.result = reply.stdout.text(), reply.stderr.text(), reply.result
        row.error, row.duration_ms = rows.error_json(outcome), outcome.duration_ms
        self._add_console(row, reply.execution_count)

    def missed_console(self, count: int, code: str, account: Account) -> None:
        """Write down a cell from the kernel's history whose messages did not reach us."""
        if not self._console.has(count):
            row = self._row("run_repl", account.counters.step_index, "unknown", summary_of(code), account, code=code)
            self._add_console(row, count)

    def _add_console(self, row: EventRow, count: int | None) -> None:
        row.source = "console"
        if self._console.takes(row, count):
            self._add(row)

    def _add(self, row: EventRow, loss: LossReport | None = None) -> EventRow:
        row.id = self._store.mint()
        self.telling.recorded(row, loss)
        chars = sum(len(text) for text in (row.stdout, row.stderr, row.result, row.error) if text)
        self._write(lambda: self._store.add_event(row), chars)
        return row

    def _update(self, **changes: Any) -> None:
        chars = len(changes.get("final_answer") or "")
        self._write(lambda: self._store.update_session(self._session_id, **changes), chars)

    def counters_changed(self, account: Account, status: SessionStatus) -> None:
        """Keep the session's record true: counters, whether a step runs, and whether a limit has stopped it."""
        self._update(**self._counters(account, status))

    def kernel_changed(self, connection_file: str, pid: int) -> None:
        """Write down where a console finds the session's kernel."""
        self._console.new_kernel()
        self._update(connection_file=connection_file, kernel_pid=pid)

    def kernel_stopped(self, reason: str, unreported: LossReport | None = None) -> None:
        """Write down why the session has no kernel just now, and what nobody was told, for who opens it next."""
        self.kernel_changed("", 0)
        self._update(extra=rows.stopped_json(reason, unreported))

    def closed(self, status: str, **changes: Any) -> None:
        """Write down that the session has no kernel any more."""
        self._update(status=status, connection_file="", kernel_pid=0, **changes)

    def events(self, from_step: int | None, to_step: int | None, *, texts: bool = True) -> list[EventRow]:
        """The session's rows, in order; without their texts where those are not wanted."""
        return self._store.events(self._session_id, from_step, to_step, texts=texts)

    def _counters(self, account: Account, status: SessionStatus, now: str | None = None) -> dict[str, Any]:
        """Those fields of the session's record that each step changes."""
        return {
            "counters": json.dumps(account.recorded()),
            "status": status,
            "stop_reason": account.stop,
            "last_used_at": now or self.now(),
        }

    def _row(
        self, action: str, step_index: int, status: str, summary: str, account: Account, code: str | None = None
    ) -> EventRow:
        return EventRow(
            session_id=self._session_id,
            ts=self.now(),
            step_index=step_index,
            action=action,
            source="mcp",
            result_status=status,
            summary=summary,
            guardrail_snapshot=json.dumps(account.snapshot()),
            code=code,
        )
