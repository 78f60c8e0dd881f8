"""Where a session is that another process drives, and how it is asked for.

Is: what `handles.py` asks for, the answer of a server that knows no other, and a session's lock here. Is not: how one
process speaks to another, which is a host's (`host/others/`). Above: `session/handles.py`. Below: `errors.py`,
`store/session_lock.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rlm_kernel_mcp.errors import SessionBusy, SessionElsewhere

if TYPE_CHECKING:
    from rlm_kernel_mcp.store.session_lock import SessionLock

ANSWER_THERE: Final = (
    "Answer where the session is driven. Sub-agents reach it where all clients share one host: "
    "`rlm-kernel-mcp doctor` says why there is none."
)


class Elsewhere(Protocol):
    """The other processes that may drive a session of the same record."""

    async def ask(self, session_id: str, holder: int) -> None:
        """Have the process `holder` let a session go; when this returns, its lock may be tried again.

        Raises:
            SessionBusy: it is used there, or that process lets nobody have it.
        """


@dataclass(slots=True)
class Held:
    """A session's lock; None before a thread has it."""

    lock: SessionLock | None = None

    def take(self, lock: SessionLock | None) -> None:
        self.lock = lock


class NobodyAsked:
    """`Elsewhere` of a server on its own."""

    async def ask(self, session_id: str, holder: int) -> None:
        raise driven_elsewhere(session_id, holder)


def driven_elsewhere(session_id: str, holder: int) -> SessionBusy:
    """What is said of a session that another process has and does not give."""
    who = f"pid {holder}" if holder else "its pid is not known"
    return SessionElsewhere(
        f"Session {session_id} is driven by another server process ({who}).",
        "Use it there, or end that server: one that is no host of yours is not asked for a session, and keeps it until "
        "RLM_IDLE_TIMEOUT_S after its last use. rlm_get_trace works from here too, and rlm_init_context opens another.",
    )


@contextmanager
def answered_elsewhere() -> Iterator[None]:
    """Say of a session that another process drives what is to be done with answers to its questions."""
    try:
        yield
    except SessionElsewhere as error:
        raise SessionElsewhere(error.message, ANSWER_THERE) from error
