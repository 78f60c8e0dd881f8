"""Whether a question that got no answer is asked again, and when.

Is: a table and arithmetic; chance is given. Is not: the wait. Sans-I/O. Above: `switchboard.py`.
Below: `backends/protocol.py`.
"""

from __future__ import annotations

from typing import Final

from rlm_kernel_mcp.session.answering.backends.protocol import Unanswered

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0
PATIENCE_S: Final = 120.0
"""An endpoint that asks to wait for longer is not waited for: until then nothing is asked of it."""


def pause_s(unanswered: Unanswered, attempts: int, chance: float) -> float | None:
    """How long to wait before a question is asked again; None: not at all.

    Args:
        unanswered: how the last attempt ended.
        attempts: how many there have been.
        chance: from 0 to 1, so that those that failed together do not come together.
    """
    if attempts >= unanswered.tries:
        return None
    asked_s = unanswered.retry_after_s
    if asked_s is not None:
        return asked_s if asked_s <= PATIENCE_S else None
    return min(FIRST_PAUSE_S * 2.0 ** (attempts - 1), LONGEST_PAUSE_S) * (0.75 + 0.25 * chance)
