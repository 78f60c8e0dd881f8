"""Opens a session of an earlier server, or of another one, again from its record.

Is: record to `Session`, without a kernel: the first use restores one, with the loss report. Is not: the lock
(`registry.py` takes it). Above: `registry.py`. Below: `store/store.py`'s rows, `session/contexts/`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from typing import Any, Final

from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.loader.loaders import Loaders
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.kernel.pool import KernelPool
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.asking.answers import Answers, Switchboard
from rlm_kernel_mcp.session.asking.questions import Questions
from rlm_kernel_mcp.session.asking.room import QuestionRoom
from rlm_kernel_mcp.session.boards.functions import FunctionBoard
from rlm_kernel_mcp.session.carrying.durable import Durable
from rlm_kernel_mcp.session.contexts.contexts import ContextList, contexts_of
from rlm_kernel_mcp.session.contexts.means import Means
from rlm_kernel_mcp.session.evidence.citations import Checked
from rlm_kernel_mcp.session.functions.offered import HostFunction, of_record
from rlm_kernel_mcp.session.kernels.answering import Answering, Nobody
from rlm_kernel_mcp.session.kernels.recovery import Recovery
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.session.reports import Counters, Guardrails, SubcallsUsed
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.snapshots.file import SnapshotFile
from rlm_kernel_mcp.session.snapshots.restoring import SnapshotRestorer
from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker
from rlm_kernel_mcp.session.states.lifecycle import Event
from rlm_kernel_mcp.session.steps.outcomes import Outcomes
from rlm_kernel_mcp.session.trace.events import EVIDENCE
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.session.trace.rows import KERNEL_GONE, said_of, unreported_of, updated_of
from rlm_kernel_mcp.session.watching.feeds import Feeds
from rlm_kernel_mcp.session.watching.telling import Telling
from rlm_kernel_mcp.settings import Settings
from rlm_kernel_mcp.store.pruning import ABANDONED, ENDED
from rlm_kernel_mcp.store.reading import damaged_record
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.writer import Writer
from rlm_kernel_mcp.telemetry.spans import Spans

OFFERED_BEFORE: Final = ("context", "documents", "scratch")
"""The names on offer in a session whose record was written before records had them."""
ENDED_ALIVE: Final = ("ok", "error", "timeout", "interrupted")
"""The ends of a step that its kernel may have survived: its names are in the next snapshot."""
FIRST_LACKS: Final = "the session's first kernel could not be given all that it begins with"
"""Why a child's first kernel, which replaces none, has anything to tell of what is lost."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerResources:
    """What every session of a server shares."""

    settings: Settings
    policy: Policy
    pool: KernelPool
    slots: KernelSlots
    store: Store
    writer: Writer
    loaders: Loaders | None = None
    feeds: Feeds = field(default_factory=Feeds)
    switchboard: Switchboard | None = None
    """Through which questions of sessions are answered; None: nobody answers any."""
    outcomes: Outcomes = field(default_factory=Outcomes)
    calls: FunctionBoard | None = None
    """The same of calls of functions; None: none is made."""
    room: QuestionRoom = field(default_factory=QuestionRoom)
    spans: Spans = field(default_factory=Spans)
    durable: Durable | None = None
    """Keeps the sessions where other servers can have them; None: this one's own record is all there is."""

    @property
    def means(self) -> Means:
        """What contexts are read with."""
        return Means(self.settings, Room.of(self.policy), self.loaders)


def reopen(
    record: SessionRecord, shared: ServerResources, roots: Roots | None = None, *, is_new: bool = False
) -> Session:
    """The session of a record, as its last server left it. Unless it `is_new`, this reads files: call it in a thread.

    `roots`: below which its files are looked for where the record, an old one, does not say.

    Raises:
        SessionNotFound: the record is damaged.
    """
    try:
        return _reopened(record, shared, roots, is_new=is_new)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("the record of session %s is damaged: %s", record.session_id, error)
        raise damaged_record(record.session_id) from error


def _reopened(record: SessionRecord, shared: ServerResources, otherwise: Roots | None, *, is_new: bool) -> Session:
    account = _account(record)
    spans = shared.spans.of_session(record.session_id, record.parent or "")
    telling = Telling(record.session_id, shared.feeds, spans)
    journal = Journal(shared.store, record.session_id, shared.outcomes, shared.writer, telling)
    file = SnapshotFile(shared.settings.state_dir, record.session_id, shared.policy.snapshots, is_new=is_new)
    reference: dict[str, Any] = json.loads(record.context_ref)
    all_contexts = contexts_of(json.loads(record.context), reference)
    roots = Roots.of_record(reference.get("session_roots", ()), reference.get("session_root_ids"))
    if roots is None and otherwise is not None:
        roots = otherwise.recorded()
        for one in all_contexts:
            if one.source.paths is not None and one.source.roots is None:
                one.source = replace(one.source, roots=roots)
    contexts = ContextList(record.session_id, shared.means, shared.store, all_contexts, roots)
    recovery = Recovery(
        shared.pool,
        shared.policy,
        SnapshotTaker(file, shared.policy.snapshots),
        SnapshotRestorer(file),
        shared.slots,
        contexts,
        offered=tuple(reference.get("names", OFFERED_BEFORE)),
        answering=_answering(record, shared, account, of_record(reference), is_new=is_new),
        spans=spans,
        durable=shared.durable,
    )
    session = Session(record.session_id, account, contexts, recovery, journal)
    session.created_at, session.last_used_at = record.created_at, record.last_used_at or record.created_at
    extra: dict[str, Any] = json.loads(record.extra or "{}")
    session.ended = _ended(record, extra, is_new=is_new)
    if session.ended is not None:
        session.finished_at = record.finished_at
        session.states.on(Event.FINAL_ANSWER)
        return session
    if record.status == "finalized":
        session.final, session.finished_at = record.final_answer or "", record.finished_at
        given = extra.get("final_given", ["", ""])
        session.final_given = (str(given[0]), str(given[1]))
        session.checked = _checked(session)
        session.states.on(Event.FINAL_ANSWER)
        return session
    if is_new:
        if record.parent is not None:
            recovery.is_first, session.kernel.gone_reason = True, FIRST_LACKS
        return session
    extra = {} if record.kernel_pid else extra  # else it is of an earlier kernel
    _remember(session, str(extra.get(KERNEL_GONE) or "the server that had the session's kernel has ended"))
    session.told.unreported = unreported_of(extra)
    return session


def _account(record: SessionRecord) -> Account:
    """What it has used, and of which limits."""
    limits = Guardrails(**json.loads(record.limits))
    # Our own record, but on disk: a damaged one must not be anything worse than an error.
    counters: dict[str, int] = json.loads(record.counters or "{}")
    subcalls = SubcallsUsed(counters.pop("subcalls", 0), counters.pop("subcall_tokens", 0))
    account = Account(limits, Counters(**counters), record.stop_reason)  # type: ignore[arg-type]  # we wrote it
    account.subcalls = subcalls
    account.parent_id, account.depth = record.parent or "", record.depth
    return account


def _ended(record: SessionRecord, extra: dict[str, Any], *, is_new: bool) -> str | None:
    """Why a child ended without an answer. One that no server has any more has no parent that waits."""
    is_abandoned = record.parent is not None and not is_new and record.status != "finalized"
    return ABANDONED if is_abandoned else extra.get(ENDED)


def _answering(
    record: SessionRecord,
    shared: ServerResources,
    account: Account,
    offered: tuple[HostFunction, ...],
    *,
    is_new: bool,
) -> Answering:
    """Who answers what the session's code asks. `offered`: the functions that it may call."""
    models = None
    if shared.switchboard is not None:
        models = shared.switchboard.broker(record.session_id, account, is_new=is_new)
        _limit(account, models)
    if offered and shared.calls is not None:
        account.functions = offered
        answers, functions = shared.calls.answers(record.session_id, offered, models, is_new=is_new)
        return Questions(answers, account, shared.room, functions)
    return Nobody() if models is None else Questions(models, account, shared.room)


def _limit(account: Account, answers: Answers) -> None:
    """A session's limits are those that hold with who answers it."""
    who = account.answerer = answers.answerer()
    limits = account.limits
    limits = replace(limits, max_subcalls=who.max_subcalls, subcall_tokens_limit=who.subcall_tokens_limit)
    if who.wait_limit_ms is not None and limits.wait_limit_ms == Guardrails().wait_limit_ms:
        limits = replace(limits, wait_limit_ms=who.wait_limit_ms)
    account.limits = limits


def _checked(session: Session) -> Checked | None:
    """What the final answer cites, from its event."""
    rows = session.journal.events(None, None, texts=False)
    found = [json.loads(row.extra or "{}").get(EVIDENCE) for row in rows if row.action == "finalize"]
    return Checked.of_record(found[-1]) if found and found[-1] else None


def _remember(session: Session, gone_reason: str) -> None:
    """What the trace says: the claims, the names bound since the last snapshot, and a step that was cut off."""
    kernel = session.kernel
    kernel.gone_reason = gone_reason
    session.evidence.is_whole, session.evidence.delivered_chars = False, session.counters.budget_used
    kept = kernel.last_step = kernel.recovery.snapshots.step
    for row in session.journal.events(None, None, texts=False):
        if row.action != "run_repl" or row.source != "mcp":
            continue
        said = said_of(row)
        session.evidence.take_step(said.used, lost=said.lost_kernel)
        session.evidence.delivered_chars -= said.code_chars
        if row.step_index <= kept:
            continue
        if row.result_status in ENDED_ALIVE:
            kernel.last_step = row.step_index
            kernel.recovery.note_bound(row.step_index, updated_of(row))
        elif row.result_status == "unknown" and row.step_index == session.counters.step_index:
            kernel.gone_reason += f" while step {row.step_index} ran; what that step did is gone"
