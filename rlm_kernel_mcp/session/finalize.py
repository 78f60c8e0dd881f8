"""The final answer of a session.

Is: `rlm_finalize`: the answer from a text or a variable, given once. Is not: the trace, which stays readable. Above:
`registry.py`. Below: `session.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput, SessionFinalized, VariableNotFound
from rlm_kernel_mcp.session.kernels import variables
from rlm_kernel_mcp.session.reports import FinalReport, Stats
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.states.lifecycle import Event
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.text.safe_text import cut_text
from rlm_kernel_mcp.text.wording import counted

ANSWER_CHARS_MAX: Final = 4_000_000
"""Longest answer that is kept."""
HASHED_S: Final = 5.0
"""So long the end of a session waits for the hashes of its contexts."""
END_S: Final = 180.0
"""Longer than a kernel may take to load a context: a kernel that is just being made ready has to be waited for."""
WHERE_IS_THE_REST: Final = 'rlm_finalize with a larger max_output_chars, or rlm_get_trace(detail="full"), gets the rest'


async def finalize(
    session: Session,
    text: str | None,
    var_name: str | None,
    max_output_chars: int,
    let_go: Callable[[Session], None] = lambda session: None,
) -> FinalReport:
    """Commit the answer and end the kernel; the same call again gives the same answer, and ends what is left to end.

    `let_go`: told when nothing of the session is held any more.

    Raises:
        SessionFinalized: there is another answer already.
        SessionBusy: a step is running.
        InvalidInput: it is too long, or no text. Nothing is lost.
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
        if session.final is None:
            session.require_idle()
            answer = text if text is not None else await _read(session, var_name or "")
            session.require_idle()  # a step may have begun while the variable was read
            _commit(session, given, answer)
        elif given not in (session.final_given, _digested(session.final_given)):
            raise SessionFinalized(
                f"Session {session.session_id} already has another final answer, of "
                f"{counted(len(session.final), 'character')}."
            )
    await shielded(_end(session, let_go), f"the end of session {session.session_id}", within_s=END_S)
    return _report(session, max_output_chars)


async def _read(session: Session, var_name: str) -> str:
    """The whole text of the variable that holds the answer.

    A large answer of a kernel is awaited even where nobody wants it any more: it would break the usual limit.
    """
    async with session.kernel.reading() as kernel:
        reading = variables.read_text(kernel, var_name, ANSWER_CHARS_MAX, session.kernel.recovery.gone)
        return await shielded(reading, f"the final answer of {session.session_id}", within_s=END_S)


def _commit(session: Session, given: tuple[str, str], answer: str) -> None:
    """Take the answer and write it down; there is no kernel for the session from now on."""
    session.states.on(Event.FINAL_ANSWER)
    session.final, session.final_given, session.finished_at = answer, given, session.journal.now()
    reason = session.account.stop or "completed"
    # The answer stands in the session's row alone. Its event only says that there is one, so it is written after that.
    session.journal.closed(
        "finalized",
        final_answer=answer,
        finish_reason=reason,
        finished_at=session.finished_at,
        extra=json.dumps({"final_given": given}),
    )
    session.journal.final(session.counters.step_index, reason, given[0], answer, session.account)


async def _end(session: Session, let_go: Callable[[Session], None]) -> None:
    """End the kernel, forget the values, see the answer written. What an earlier call did of this is not done again."""
    session.contexts.cancel(hashes=False)
    await session.kernel.drop("the session was finalized", settle_s=0)
    await session.contexts.contexts.hashes.end(HASHED_S)  # the record has them now, or never
    await session.kernel.recovery.snapshots.remove()
    let_go(session)
    await session.journal.settled()


def _digest(text: str) -> str:
    """What identifies a text: the answer itself is kept once."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _digested(given: tuple[str, str]) -> tuple[str, str]:
    """As `given` is written now; versions before kept the whole text there."""
    return (given[0], _digest(given[1])) if given[0] == "text" else given


def _report(session: Session, max_output_chars: int) -> FinalReport:
    answer = session.final
    if answer is None:
        raise VariableNotFound("The session has no final answer.")
    shown = cut_text(answer, max_output_chars, WHERE_IS_THE_REST)
    used = session.counters
    return FinalReport(
        final_answer=shown.text,
        final_answer_chars=len(answer),
        finish_reason=session.account.stop or "completed",
        stats=Stats(used.step_index, used.runtime_ms, used.budget_used, session.created_at, session.finished_at or ""),
        cut_chars=shown.cut_chars,
        note=None if shown.says_where else f"Cut: {shown.cut_chars:,} characters of final_answer; {WHERE_IS_THE_REST}.",
    )
