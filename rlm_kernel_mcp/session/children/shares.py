"""What a child session may use of its parent's limits. Sans-I/O.

Is: at most half of what is left, in equal parts for those that are asked for together, and why that is too little. Is
not: the account, which charges what a child uses to its parents too (`session/account.py`). Above: `nesting.py`.
Below: `session/reports.py`.
"""

from __future__ import annotations

from rlm_kernel_mcp.session.answering.questions import Failed
from rlm_kernel_mcp.session.reports import Guardrails, Left
from rlm_kernel_mcp.text.wording import counted


def share_of(left: Left, limits: Guardrails, of: int) -> Guardrails | Failed:
    """The limits of each of so many children.

    Args:
        left: of the parent's limits.
        limits: the parent's own, for what is no sum: a child's step may take and wait as long as one of its parent's.
        of: how many children are asked for together.
    """
    parts = 2 * of
    subcalls, tokens = left.subcalls_left or 0, left.subcall_tokens_left or 0
    steps, runtime_ms, chars = left.steps_left // parts, left.runtime_left_ms // parts, left.chars_left // parts
    least = {"step": steps, "ms of runtime": runtime_ms, "character": chars, "token": tokens // parts}
    lacking = [name for name, part in least.items() if not part]
    if subcalls < of:
        is_left = "is left" if subcalls == 1 else "are left"
        return Failed("budget", f"{counted(subcalls, 'question')} {is_left}, and {of:,} were asked together.")
    if lacking:
        what = f"Half of what is left, divided by {of:,}, is less than one {lacking[0]} for each child session"
        fits = min(left.steps_left, left.runtime_left_ms, left.chars_left, tokens) // 2
        return Failed("budget", f"{what}; {fits:,} can be asked for together.")
    return Guardrails(
        max_steps=steps,
        max_runtime_ms=runtime_ms,
        budget_limit=chars,
        step_timeout_ms=min(limits.step_timeout_ms, runtime_ms),
        max_subcalls=max(0, subcalls - of) // parts,
        subcall_tokens_limit=tokens // parts,
        wait_limit_ms=limits.wait_limit_ms,
    )
