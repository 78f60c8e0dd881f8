"""The final answer of a session.

Is: `rlm_finalize`: the answer from a text or a variable, given once, if what it cites is there. Is not: the trace,
which stays readable, nor the check of a citation (`session/evidence/`). Above: `registry.py`. Below: `session.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeVar

from rlm_kernel_mcp.errors import CitationMismatch, ContextDenied, InvalidInput, SessionFinalized, VariableNotFound
from rlm_kernel_mcp.session.evidence.check import MARKS_MAX, check, unread
from rlm_kernel_mcp.session.evidence.citations import Checked, Citation, Quote, rows_within
from rlm_kernel_mcp.session.evidence.marks import marks_of
from rlm_kernel_mcp.session.evidence.sought import Limits
from rlm_kernel_mcp.session.kernels import variables
from rlm_kernel_mcp.session.kernels.loading import NobodyWaits
from rlm_kernel_mcp.session.kernels.long_text import read_long
from rlm_kernel_mcp.session.reports import FinalReport, Stats
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.states.lifecycle import Event
from rlm_kernel_mcp.session.trace.reading import read_ends
from rlm_kernel_mcp.shielded import made_in_thread, shielded
from rlm_kernel_mcp.store.long_answers import PagedText
from rlm_kernel_mcp.text.markup import code
from rlm_kernel_mcp.text.safe_text import Cut, cut_text
from rlm_kernel_mcp.text.wording import counted

T = TypeVar("T")

ANSWER_CHARS_MAX: Final = 4_000_000
"""Longest answer that is kept in one piece: any that is given as a text."""
LONG_CHARS_MAX: Final = 64_000_000
"""Longest one that a variable may hold; above the other limit it goes page by page (decision 0141)."""
HASHED_S: Final = 5.0
"""So long the end of a session waits for the hashes of its contexts."""
END_S: Final = 180.0
"""Longer than a kernel may take to load a context: a kernel that is just being made ready has to be waited for."""
ROWS_CHARS: Final = 200_000
"""Characters of the citations that fail, for a program."""
WHERE_IS_THE_REST: Final = 'rlm_finalize with a larger max_output_chars, or rlm_get_trace(detail="full"), gets the rest'

CHECK_S: Final = 600.0
"""So long the check of an answer's citations may take: sources may lie on a disk that does not answer."""
CHECKS_MAX: Final = 2
"""Answers whose citations are checked at a time; each reads whole sources."""
TOLD_MAX: Final = 10
"""Citations that fail which the message names; `error.citations` has all."""
_checkers = ThreadPoolExecutor(CHECKS_MAX, thread_name_prefix="check of citations")
_markers = ThreadPoolExecutor(CHECKS_MAX, thread_name_prefix="marks of a long answer")
COVERAGE_S: Final = 10.0
"""So long an answer that cites nothing waits for what was delivered to be found in small sources."""
READERS_MAX: Final = 8
"""Such answers at a time; any more are told nothing of that, as where the sources are large."""
_readers = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="coverage of an answer")
_free_readers = threading.Semaphore(READERS_MAX)


async def finalize(
    session: Session,
    text: str | None,
    var_name: str | None,
    quotes: Sequence[Quote],
    max_output_chars: int | None,
    let_go: Callable[[Session], None] = lambda session: None,
) -> FinalReport:
    """Commit the answer and end the kernel; the same call again gives the same answer, and ends what is left to end.

    Without `max_output_chars` the report has the answer raw and whole. `let_go`: told when nothing of the session is
    held any more.

    Raises:
        SessionFinalized: there is another answer already.
        SessionBusy: a step is running.
        InvalidInput: it is too long, no text, or of another schema than a child's is to have. Nothing is lost.
        CitationMismatch: a mark or a quote is not what the sources hold. Nothing is lost.
        ContextDenied: the sources could not be read in time. Nothing is lost.
        VariableNotFound, KernelDied.
    """
    if text is not None and len(text) > ANSWER_CHARS_MAX:
        raise InvalidInput(
            f"final_text has {len(text):,} characters; a final answer has at most {ANSWER_CHARS_MAX:,}.",
            "Give a shorter one; the session is as it was.",
        )
    given = ("variable", var_name or "")
    if text is not None:
        given = ("text", await asyncio.to_thread(_digest, text))
    async with session.final_lock:
        session.require_not_ended()
        if session.final is None:
            await _take(session, given, text, quotes, max_output_chars or ROWS_CHARS)
        elif given not in (session.final_given, _digested(session.final_given)):
            raise SessionFinalized(
                f"Session {session.session_id} already has another final answer, of "
                f"{counted(len(session.final), 'character')}."
            )
    await shielded(_end(session, let_go), f"the end of session {session.session_id}", within_s=END_S)
    return await _report(session, max_output_chars)


async def _take(
    session: Session, given: tuple[str, str], text: str | None, quotes: Sequence[Quote], max_chars: int
) -> None:
    """Take the first answer of a session, if it is checked. Raises: as `finalize`."""
    session.require_idle()
    answer = text if text is not None else await _read(session, given[1])
    try:
        checked = await _checked(session, answer, quotes, max_chars)
        if session.asked is not None:
            await session.asked.require_fit(answer)
        session.require_idle()  # a step may have begun while the variable was read
    except BaseException:
        if isinstance(answer, PagedText):
            with suppress(TimeoutError):  # why it is refused matters more; pages that stay go with their session
                await shielded(asyncio.to_thread(answer.remove), "the removal of an answer that is refused")
        raise
    _commit(session, given, answer, checked)


async def _read(session: Session, var_name: str) -> str | PagedText:
    """The whole text of the variable that holds the answer; a long one is in the store by then.

    A large answer of a kernel is awaited even where nobody wants it any more: it would break the usual limit.
    """
    async with session.kernel.reading() as kernel:
        gone = session.kernel.recovery.gone
        reading = variables.read_text(kernel, var_name, ANSWER_CHARS_MAX, gone, LONG_CHARS_MAX)
        text = await shielded(reading, f"the final answer of {session.session_id}", within_s=END_S)
        if text is not None:
            return text
        return await read_long(kernel, var_name, LONG_CHARS_MAX, session.journal.long_answer())


async def _checked(session: Session, answer: str | PagedText, quotes: Sequence[Quote], max_chars: int) -> Checked:
    """What is known of the answer's marks and quotes. Raises: CitationMismatch, InvalidInput, ContextDenied."""
    await session.journal.settled()  # the store has the texts that the client gave
    marks = await (_marks_of_pages(answer) if isinstance(answer, PagedText) else asyncio.to_thread(marks_of, answer))
    if len(marks) > MARKS_MAX:
        count = f"{len(marks):,}" if isinstance(answer, str) else f"more than {MARKS_MAX:,}"
        raise InvalidInput(f"The answer has {count} marks such as [c1]; at most {MARKS_MAX:,} are checked.")
    if not marks and not quotes:
        return await _covered(session)
    try:
        checked = await _check(session, marks, quotes, _checkers, CHECK_S)
    except TimeoutError:
        raise _not_in_time() from None
    if failed := checked.failed:
        raise CitationMismatch(_told(failed, len(checked.citations)), None, rows_within(failed, max_chars))
    return checked


def _not_in_time() -> ContextDenied:
    return ContextDenied(
        f"The citations were not checked within {CHECK_S:.0f} s.",
        "Give fewer quotes, or try again when the sources' disk answers; the session is as it was.",
    )


async def _marks_of_pages(answer: PagedText) -> list[int]:
    """The marks of a long answer, as many as are too many: there may be millions. Raises: ContextDenied."""
    try:
        return await _made(lambda goes_on: marks_of(answer.pages(goes_on), MARKS_MAX + 1), _markers, CHECK_S)
    except TimeoutError:
        raise _not_in_time() from None


async def _covered(session: Session) -> Checked:
    """The coverage alone, of an answer that cites nothing. It waits for no other answer, and for no disk for long."""
    contexts, book = session.contexts.contexts, session.evidence
    if not _free_readers.acquire(blocking=False):
        return unread(contexts, book)
    try:
        return await _check(session, (), (), _readers, COVERAGE_S, _free_readers.release)
    except TimeoutError:
        return unread(contexts, book)


async def _check(
    session: Session,
    marks: Sequence[int],
    quotes: Sequence[Quote],
    threads: ThreadPoolExecutor,
    within_s: float,
    on_end: Callable[[], None] = lambda: None,
) -> Checked:
    """Have a thread check them. `on_end`: called in it. Raises: TimeoutError: it did not within so many seconds."""

    def make(check_cancelled: Callable[[], None]) -> Checked:
        try:
            check_cancelled()
            limits = Limits(check_cancelled=check_cancelled)
            return check(session.contexts.contexts, session.evidence, marks, quotes, limits)
        finally:
            on_end()

    return await _made(make, threads, within_s)


async def _made(make: Callable[[Callable[[], None]], T], threads: ThreadPoolExecutor, within_s: float) -> T:
    """What a thread makes, which is given what raises once nobody waits. Raises: TimeoutError."""
    ended = threading.Event()

    def check_cancelled() -> None:
        if ended.is_set():
            raise NobodyWaits

    try:
        async with asyncio.timeout(within_s):
            return await made_in_thread(lambda: make(check_cancelled), lambda _: None, threads)
    finally:
        ended.set()


def _told(failed: Sequence[Citation], count: int) -> str:
    """What is wrong with which, in words."""
    said = []
    for one in failed[:TOLD_MAX]:
        near = one.nearest
        place = ""
        if near is not None:
            where = code(f"{near.passage.doc}:{near.passage.start_line}")
            place = f" Nearest: {where}: {code(near.passage.text)}."
        said.append(f"{one.id} is {one.status}: {one.why}{place}")
    more = f" And {len(failed) - TOLD_MAX:,} more." if len(failed) > TOLD_MAX else ""
    return f"{len(failed):,} of {counted(count, 'citation')} did not pass. {' '.join(said)}{more}"


def _commit(session: Session, given: tuple[str, str], answer: str | PagedText, checked: Checked) -> None:
    """Take the answer and write it down; there is no kernel for the session from now on."""
    session.states.on(Event.FINAL_ANSWER)
    session.final, session.final_given, session.finished_at = answer, given, session.journal.now()
    session.checked = checked
    reason = session.account.stop or "completed"
    in_row, in_pages = (answer, {}) if isinstance(answer, str) else (None, answer.recorded())
    # The answer itself is only in the session's row. Its event says that there is one, so it is written afterwards.
    session.journal.closed(
        "finalized",
        final_answer=in_row,
        finish_reason=reason,
        finished_at=session.finished_at,
        extra=json.dumps({"final_given": given, **in_pages}),
    )
    session.journal.final(session.counters.step_index, reason, given[0], answer, session.account, checked.record())
    if session.asked is not None:
        session.asked.on_final(answer)


async def _end(session: Session, let_go: Callable[[Session], None]) -> None:
    """End the kernel, forget the values, see the answer written. What an earlier call did of this is not done again."""
    session.contexts.cancel(hashes=False)
    # In this order: a kernel that is there can have another snapshot written; the record comes last, with all of it.
    await session.kernel.drop("the session was finalized", settle_s=0)
    await session.contexts.contexts.hashes.end(HASHED_S)  # the record has them now, or never
    await session.kernel.recovery.snapshots.remove()
    await session.told.seen.settled(session.evidence.placed)
    let_go(session)
    await session.journal.settled()
    session.journal.telling.finalized()


def _digest(text: str) -> str:
    """What identifies a text: the answer itself is kept once."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _digested(given: tuple[str, str]) -> tuple[str, str]:
    """As `given` is written now; versions before kept the whole text there."""
    return (given[0], _digest(given[1])) if given[0] == "text" else given


async def _report(session: Session, max_output_chars: int | None) -> FinalReport:
    answer = session.final
    if answer is None:
        raise VariableNotFound("The session has no final answer.")
    if isinstance(answer, PagedText):
        where = f'rlm_get_trace(from_step={session.counters.step_index}, detail="full") gets all of it, page by page'
        shown = await read_ends(answer, max_output_chars, where)
    else:
        shown, where = Cut(answer, 0, says_where=True), WHERE_IS_THE_REST
        if max_output_chars is not None:
            shown = cut_text(answer, max_output_chars, where)
    used, steps = session.counters, session.account.used_steps
    return FinalReport(
        final_answer=shown.text,
        final_answer_chars=len(answer),
        finish_reason=session.account.stop or "completed",
        stats=Stats(steps, used.runtime_ms, used.budget_used, session.created_at, session.finished_at or ""),
        citations=None if session.checked is None else session.checked.citations,
        coverage=None if session.checked is None else session.checked.coverage,
        cut_chars=shown.cut_chars,
        note=None if shown.says_where else f"Cut: {shown.cut_chars:,} characters of final_answer; {where}.",
        hashes=session.contexts.contexts.later_hashes(),
    )
