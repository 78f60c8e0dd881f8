"""Opens child sessions for the questions of a session's code, and ends those that nobody waits for any more.

Is: `Opener` of `protocol.py` over the sessions of a registry. A child has no kernel before somebody works in it, so
that a hundred of them take nothing but their rows; its text is in the store, as an inline context of any session. Is
not: who works there. Above: `session/registry.py`. Below: `nesting.py`, `session/contexts/`.

A child has the confinement and the roots of its parent. No kernel can name one: a question is answered in a session
that is made for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, Unpack

from rlm_kernel_mcp.context_wire import LoadContextReply
from rlm_kernel_mcp.errors import ContextTooLarge, InvalidInput, RlmError, SessionBusy
from rlm_kernel_mcp.session.answering.backends.replies import ANSWER_CHARS_MAX
from rlm_kernel_mcp.session.answering.conversing.conversation import Conversation
from rlm_kernel_mcp.session.answering.keeping import NOTHING, Spent
from rlm_kernel_mcp.session.answering.questions import Answered, Coming, Failed, Given, Look, Question
from rlm_kernel_mcp.session.callers.caller import Caller
from rlm_kernel_mcp.session.callers.ids import new_session_id
from rlm_kernel_mcp.session.calls.wishes import StepWishes
from rlm_kernel_mcp.session.children.carrying import Carried, Carrier
from rlm_kernel_mcp.session.children.nesting import Nest
from rlm_kernel_mcp.session.children.turning import turn_of
from rlm_kernel_mcp.session.context_reports import ContextReport
from rlm_kernel_mcp.session.contexts.contexts import ContextList, SessionContext
from rlm_kernel_mcp.session.contexts.given import QUESTION_CHARS_MAX
from rlm_kernel_mcp.session.contexts.means import Means
from rlm_kernel_mcp.session.contexts.source import ContextSource, put_text
from rlm_kernel_mcp.session.kernels.context_loading import context_report
from rlm_kernel_mcp.session.reports import FinalReport, Guardrails, StepReport
from rlm_kernel_mcp.session.states.lifecycle import Event
from rlm_kernel_mcp.session.trace.journal import Journal
from rlm_kernel_mcp.store.long_answers import PagedText
from rlm_kernel_mcp.store.pruning import ENDED
from rlm_kernel_mcp.store.store import SessionRecord, Store
from rlm_kernel_mcp.store.writer import Writer
from rlm_kernel_mcp.text.safe_text import safe_prefix
from rlm_kernel_mcp.text.wording import counted

log = logging.getLogger(__name__)
REPORT_CHARS: Final = 1_000
"""Of the report on a final answer, which nobody reads here."""
STEP_WAIT_MS: Final = 3_600_000
"""Longer than any step may run."""
TOO_LONG: Final = (
    "The final answer of the child session has {chars:,} characters; at most {most:,} are taken as an answer."
)
UNFIT_MAX: Final = 2
"""Answers without the schema that is wanted which a child is told of."""
UNFIT_CHARS: Final = 1_000
UNFIT: Final = "The final answer has not the schema that was asked for: {why}."
UNFIT_NEXT: Final = "Finalize again with JSON that has it, and nothing else; the session is as it was."


class Handles(Protocol):
    """The sessions of a registry (`session/handles.py`), which are defined above."""

    @property
    def sessions(self) -> Mapping[str, Any]: ...
    @property
    def opened_by(self) -> Mapping[str, Caller]: ...

    def enter(self, record: SessionRecord, caller: Caller) -> tuple[Any, asyncio.Future[None]]:
        """The session of a new record, and its lock and first row."""

    def let_go(self, session: Any) -> None:
        """Forget a session whose record has all there is to it."""


class Registry(Protocol):
    """Their calls (`session/registry.py`)."""

    @property
    def handles(self) -> Handles: ...

    async def run_repl(
        self, session_id: str, code: str, *, timeout_ms: int | None, **wishes: Unpack[StepWishes]
    ) -> StepReport:
        """Run a step."""

    async def finalize(
        self, session_id: str, *, final_text: str | None, final_var_name: str | None, max_output_chars: int | None
    ) -> FinalReport:
        """Take the final answer."""


class Resources(Protocol):
    """What they share."""

    @property
    def means(self) -> Means:
        """What contexts are read with."""

    @property
    def store(self) -> Store: ...
    @property
    def writer(self) -> Writer: ...


class ChildSession:
    """One child: `Child` of `protocol.py`, and `Asked` of `asked.py`."""

    def __init__(
        self, session: Any, nest: Nest, registry: Registry, look: Look | None, carried: Carried | None
    ) -> None:
        """`look`: asks whose question it is what is wrong with an answer. `carried`: a long text, which it has."""
        self.session_id, self._session, self._nest, self._registry = session.session_id, session, nest, registry
        self._look, self._unfit, self._carried = look, 0, carried
        self.final: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self.on_use: Callable[[], None] = lambda: None

    @property
    def spent(self) -> Spent:
        """What its questions and those of its children have used."""
        found = self._nest.of(self.session_id)
        return NOTHING if found is None else found.broker.ledger.spent_here

    async def require_fit(self, answer: str | PagedText) -> None:
        """Raise InvalidInput of an answer that has not the schema that is wanted; the third such one is taken.

        Whoever cannot do it is not to go round in circles: a model brings what was found into form then.
        """
        if self._look is None or not isinstance(answer, str) or len(answer) > ANSWER_CHARS_MAX:
            return
        if self._unfit < UNFIT_MAX and (why := await self._look(answer)) is not None:
            self._unfit += 1
            raise InvalidInput(UNFIT.format(why=safe_prefix(why, UNFIT_CHARS)[0]), UNFIT_NEXT)

    def on_final(self, answer: str | PagedText) -> None:
        """It has its final answer."""
        if self.final.done():
            return
        if isinstance(answer, str) and len(answer) <= ANSWER_CHARS_MAX:
            self.final.set_result(Answered(answer))
        else:
            why = TOO_LONG.format(chars=len(answer), most=ANSWER_CHARS_MAX)
            self.final.set_result(Failed("too_large", why))

    async def ask(self, conversation: Conversation, turn: int) -> Given:
        """Ask the model that works in it for its next turn, as a question of its own."""
        nesting = self._nest.of(self.session_id)
        if nesting is None:
            return Failed("gone", "The child session is not here any more.")
        return await turn_of(nesting.broker, conversation, turn, self._session.account)

    async def run(self, code: str, max_output_chars: int) -> StepReport:
        """Run a step to its end. Raises: RlmError."""
        return await self._registry.run_repl(
            self.session_id, code, timeout_ms=None, wait_ms=STEP_WAIT_MS, max_output_chars=max_output_chars
        )

    async def finalize(self, text: str | None, variable: str | None) -> None:
        """Take its final answer. Raises: RlmError."""
        await self._registry.finalize(
            self.session_id, final_text=text, final_var_name=variable, max_output_chars=REPORT_CHARS
        )

    async def end(self, why: str) -> None:
        """End it, unless it has its final answer."""
        session = self._session
        session.asked = None
        self._let_text_go()
        if session.finalized:
            return
        session.ended = why
        await session.close(f"the child session was ended: {why}")
        session.states.on(Event.FINAL_ANSWER)
        session.finished_at = session.journal.now()
        session.journal.event(
            "finalize", session.counters.step_index, ENDED, f"no final answer: {why}", session.account
        )
        session.journal.closed(
            "finalized", finish_reason=ENDED, finished_at=session.finished_at, extra=json.dumps({ENDED: why})
        )
        session.journal.keep_context(None, "")  # nobody can work in it any more
        await session.kernel.recovery.snapshots.remove()
        self._registry.handles.let_go(session)

    def _let_text_go(self) -> None:
        """No kernel is made ready with it any more; one that just is may read to its end."""
        carried, self._carried = self._carried, None
        if carried is not None:
            carried.release()


class Children:
    """One registry's."""

    def __init__(self, nest: Nest, registry: Registry, shared: Resources) -> None:
        self._nest, self._registry, self._shared = nest, registry, shared

    async def carried(self, carrier: Carrier, coming: Coming) -> Carried:
        """Have a long text brought here, if a child may have it. Raises: RlmError."""
        loaders, room = self._shared.means.loaders, self._shared.means.room
        if loaders is None:
            raise ContextTooLarge("A text of more than 400,000 characters needs a file, and this server writes none.")
        if coming.chars > room.decoded_bytes:
            most = f"and a child session may have {room.decoded_bytes:,} bytes, {room.memory}"
            raise ContextTooLarge(f"The context has {coming.chars:,} characters, {most}.", "Cut it into pieces.")
        return await carrier.carried(coming, loaders.spool)

    async def open(
        self, parent: str, question: Question, limits: Guardrails, depth: int, carried: Carried | None
    ) -> ChildSession:
        """Open one for a question, without a kernel. Raises: RlmError: the parent is gone. Its text is gone then."""
        try:
            return await self._open(parent, question, limits, depth, carried)
        except BaseException:
            if carried is not None:
                carried.release()
            raise

    async def _open(
        self, parent: str, question: Question, limits: Guardrails, depth: int, carried: Carried | None
    ) -> ChildSession:
        handles = self._registry.handles
        of, caller = handles.sessions.get(parent), handles.opened_by.get(parent)
        if of is None or caller is None:
            raise RlmError(f"Session {parent} is not driven here any more.")
        if of.owner is not None and of.owner.limit <= depth:
            what = f"RLM_MAX_SESSIONS allows {counted(of.owner.limit, 'kernel')} at a time"
            raise SessionBusy(f"{what}, and the sessions above hold them: a child at depth {depth:,} would get none.")
        shared, session_id, text = self._shared, new_session_id(), question.text or ""
        source = ContextSource() if carried is None else ContextSource(file=carried.text)
        read = ContextSource(text) if carried is None else source
        context = SessionContext(source, await _report_of(read, shared.means))
        contexts = ContextList(session_id, shared.means, shared.store, [context], of.contexts.contexts.roots)
        record = SessionRecord(
            session_id=session_id,
            created_at=Journal.now(),
            kind=context.source.kind,
            status="idle",
            limits=json.dumps(limits.recorded()),
            context=json.dumps(contexts.first_row()),
            context_ref=json.dumps(contexts.reference(of.kernel.recovery.offered)),
            server_pid=os.getpid(),
            parent=parent,
            depth=depth,
            question=question.prompt[:QUESTION_CHARS_MAX],
            client=caller.client or None,
        )
        session, written = handles.enter(record, caller)
        session.owner = of.owner
        child = ChildSession(session, self._nest, self._registry, question.look, carried)
        session.asked = child
        writes = [written]
        if carried is not None:
            first = session.contexts.contexts.first
            first.source = replace(first.source, file=carried.text)
        else:
            writes.append(shared.writer.made(session_id, partial(put_text, shared.store, session_id, text)))
        summary = f"child of {parent}: text of {counted(question.text_chars or 0, 'character')}"
        session.journal.event("init_context", 0, "ok", summary, session.account)
        try:
            await session.journal.settled()
            await asyncio.gather(*writes)
        except BaseException:
            handles.let_go(session)
            raise
        return child


async def _report_of(source: ContextSource, means: Means) -> ContextReport:
    """What is known of a child's context before any kernel has it. Raises: ContextTooLarge."""
    payload = await source.opened(means)
    try:
        assert payload.facts is not None  # of a text
        facts = payload.facts
        reply: LoadContextReply = {
            "status": "ok",
            "chars": facts.chars,
            "lines": facts.lines,
            "documents": [facts.chars],
            "head": facts.head,
            "tail": facts.tail,
            "names": {},
        }
        return context_report(payload, reply)
    finally:
        payload.close()


def open_children(nest: Nest | None, registry: Registry, shared: Resources) -> None:
    """Have a registry's sessions have children, where somebody answers their questions."""
    if nest is not None:
        nest.opener = Children(nest, registry, shared)
