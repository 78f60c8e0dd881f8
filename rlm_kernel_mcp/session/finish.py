"""The final answer of a session.

Is: `rlm_finalize`: the answer from a text or a variable, said once. Is not: the trace, which stays readable.
Above: `registry.py`. Below: `session.py`.
"""

from __future__ import annotations

from typing import Final as Constant

from rlm_kernel_mcp.errors import SessionFinalized, VariableNotFound
from rlm_kernel_mcp.session.cutting import cut_text
from rlm_kernel_mcp.session.session import Session
from rlm_kernel_mcp.session.shapes import Final, Stats

ANSWER_CHARS_MAX: Constant = 4_000_000
"""Longest answer that is kept."""


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
            answer = text if text is not None else await session.read_final(var_name or "", ANSWER_CHARS_MAX)
            await session.commit_final(given, answer)
        elif session.final_given != given:
            raise SessionFinalized(
                f"Session {session.session_id} already has another final answer, of {len(session.final):,} characters."
            )
    return _report(session, max_output_chars)


def _report(session: Session, max_output_chars: int) -> Final:
    answer = session.final
    if answer is None:
        raise VariableNotFound("The session has no final answer.")
    shown = cut_text(answer, max_output_chars, "rlm_finalize with a larger max_output_chars gets the rest")
    used = session.counters
    return Final(
        final_answer=shown.text,
        final_answer_chars=len(answer),
        finish_reason=session.account.stop or "completed",
        stats=Stats(used.step_index, used.runtime_ms, used.budget_used, session.created_at, session.finished_at or ""),
    )
