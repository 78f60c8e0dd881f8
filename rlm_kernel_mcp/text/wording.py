"""How a number and its noun are written, and the sentences that several parts say.

Is: the one place that knows when a noun is in the plural. Is not: a sentence that one part alone says.
Above: whoever tells a count to a person or a model. Below: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NOTHING_INTERRUPTED: Final = "No step was running; nothing was interrupted."
NOTHING_LEFT_TO_INTERRUPT: Final = (
    "No step was running; nothing was interrupted. The session has its final answer: nothing runs in it any more."
)
NOT_KEPT: Final[Mapping[str, str]] = {
    "no_picture": "no picture, whatever its type says",
    "too_large": "larger than is kept of one display",
    "too_many": "beyond what is kept of one step",
    "failed": "its own code failed to make it",
}
"""Why a display of a step is not in the record."""

_LIMITS: Final = (
    ("step_index", "max_steps", "steps"),
    ("runtime_ms", "max_runtime_ms", "ms"),
    ("budget_used", "budget_limit", "characters"),
    ("subcalls", "max_subcalls", "questions"),
    ("subcall_tokens", "subcall_tokens_limit", "tokens"),
)


def counted(count: int, noun: str) -> str:
    """`1 document`, `2,000 documents`. The noun takes a plain s in the plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def damaged_words(count: int, noun: str) -> str:
    """What to say of rows of the store that were left out; an empty text where there are none."""
    if not count:
        return ""
    is_left = "is left" if count == 1 else "are left"
    what = f"{counted(count, noun)} in the session store"
    return f"{what} cannot be read as it was written, and {is_left} out; `rlm-kernel-mcp doctor` says more."


def used_words(snapshot: Mapping[str, int]) -> str:
    """What the snapshot of an event says was used of each limit; empty where it says nothing."""
    told = [row for row in _LIMITS if {*row[:2]} <= snapshot.keys()]
    others = snapshot.get("child_steps", 0)
    counts = {**snapshot, "step_index": snapshot.get("step_index", 0) + others}
    whose = {"steps": f" ({others:,} of them in child sessions)"} if others else {}
    used = ", ".join(f"{counts[used]:,}/{counts[most]:,} {what}{whose.get(what, '')}" for used, most, what in told)
    return f"; used {used}" if used else ""


def waits_words(answers: int) -> str:
    """What a step does whose code asks, for a person. 0: what it did, and does not any more."""
    return f"waits for {counted(answers, 'answer')}" if answers else "has its answers"


def state_more(answers: int, ended: str | None) -> str:
    """What is said of a session beside its status. `ended`: why it has no answer, where it is over without one."""
    if ended is not None:
        return f" without an answer{f': {ended}' if ended else ''}"
    return f", {waits_words(answers)}" if answers else ""


def lasting(seconds: float) -> str:
    """So long, in minutes where that is a whole number of them."""
    return counted(int(seconds // 60), "minute") if seconds >= 60 and seconds % 60 == 0 else f"{seconds:,.0f} s"
