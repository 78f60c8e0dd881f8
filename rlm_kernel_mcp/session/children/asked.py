"""What a session knows of the question that it was opened for, if it is a child.

Is: a contract, and what is said of a child that ended without an answer. Is not: who waits for the answer
(`opening.py`). Above: `session/session.py`. Below: `errors.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rlm_kernel_mcp.errors import SessionFinalized
from rlm_kernel_mcp.store.long_answers import PagedText


class Asked(Protocol):
    """The question of another session's code."""

    on_use: Callable[[], None]
    """Somebody works in the session."""

    async def require_fit(self, answer: str | PagedText) -> None:
        """Raise InvalidInput of an answer that has not the schema that is wanted."""

    def on_final(self, answer: str | PagedText) -> None:
        """It has its final answer."""


def require_not_ended(session_id: str, ended: str | None) -> None:
    """Raise SessionFinalized if it has ended without an answer, and why."""
    if ended is not None:
        what = f"Session {session_id} has ended without a final answer: {ended}."
        raise SessionFinalized(what, "Its answer is not wanted any more; rlm_get_trace still reads it.")
