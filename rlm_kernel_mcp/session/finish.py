"""The final answer of a session.

Is: `rlm_finalize`: the answer from a text or a variable, said once. Is not: the trace, which stays readable.
Above: `registry.py`. Below: `session.py`.
"""

from __future__ import annotations

import json
from typing import Final as Constant

from rlm_kernel_mcp.errors import SessionFinalized, VariableNotFound
from rlm_kernel_mcp.session import variables
from rlm_kernel_mcp.session.cutting import cut_text
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.shapes import Final, Stats

ANSWER_CHARS_MAX: Constant = 4_000_000
"""Longest answer that is kept."""
WHERE_IS_THE_REST: Constant = (
    'rlm_finalize with a larger max_output_chars, or rlm_get_trace(detail="full"), gets the rest'
)


async def finalize(session: Session, text: str | None, var_name: str | None, max_output_chars: int) -> Final:
    """Commit the answer and end the kernel; the same call again gives the same answer.

    Raises:
        SessionFinalized: there is another answer already.
        SessionBusy: a step is running.
        VariableNotFound, KernelDied.
    """
    given = ("text", text) if text is not None else ("variable", var_name or "")
    async with session.final_lock:
        if session.final is None:
            session.require_idle()
            answer = text if text is not None else await _read(session, var_name or "")
            session.require_idle()  # a step may have begun while the variable was read
            await _commit(session, given, answer)
        elif session.final_given != given:
            raise SessionFinalized(
                f"Session {session.session_id} already has another final answer, of {len(session.final):,} characters."
            )
    return _report(session, max_output_chars)


async def _read(session: Session, var_name: str) -> str:
    """The whole text of the variable that holds the answer."""
    async with session.life.reading() as kernel:
        return await variables.read_text(kernel, var_name, ANSWER_CHARS_MAX)


async def _commit(session: Session, given: tuple[str, str], answer: str) -> None:
    """Take the answer, write it down, and end the kernel."""
    session.final, session.final_given, session.finished_at = answer, given, session.journal.now()
    reason = session.account.stop or "completed"
    session.journal.final(session.counters.step_index, reason, given[0], answer, session.account)
    session.journal.closed(
        "finalized",
        final_answer=answer,
        finish_reason=reason,
        finished_at=session.finished_at,
        extra=json.dumps({"final_given": given}),
    )
    await session.life.drop("the session was finalized", settle_s=0)
    await session.life.recovery.snapshots.remove()


def _report(session: Session, max_output_chars: int) -> Final:
    answer = session.final
    if answer is None:
        raise VariableNotFound("The session has no final answer.")
    shown = cut_text(answer, max_output_chars, WHERE_IS_THE_REST)
    used = session.counters
    return Final(
        final_answer=shown.text,
        final_answer_chars=len(answer),
        finish_reason=session.account.stop or "completed",
        stats=Stats(used.step_index, used.runtime_ms, used.budget_used, session.created_at, session.finished_at or ""),
    )
