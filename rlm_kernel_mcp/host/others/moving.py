"""How a host comes by a session that another one of this user has: it asks for it, by the door.

Is: the question, and what is said where the other does not give the session: why, and where it is. Is not: the letting
go (`kinds/telling.py`, `session/idle_watch.py`), nor who drives a session, which its lock alone decides
(`store/session_lock.py`). Above: `host/serving.py`. Below: `known.py`, `session/callers/elsewhere.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import select
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from rlm_kernel_mcp.errors import SessionBusy, SessionElsewhere
from rlm_kernel_mcp.front.front import NoHost, Place
from rlm_kernel_mcp.host.others.known import Known, aside, host_of
from rlm_kernel_mcp.session.callers.elsewhere import driven_elsewhere

ANSWER_S: Final = 8.0
"""How long a call waits for a session to be let go, in all; that goes on where it takes longer."""
ASKS: Final = ThreadPoolExecutor(16, thread_name_prefix="ask")
"""Not the threads of the door: many calls that wait for another host would keep new clients out."""
LET_GO: Final = "let-go"
GONE, KEPT = "gone", "kept"
"""What a host says to it: that anybody may have the session now, or why it keeps it."""


class OtherHosts:
    """`Elsewhere` of a host: the other hosts of this user, confined as this one is."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def ask(self, session_id: str, holder: int) -> None:
        end = time.monotonic() + ANSWER_S  # of the wait for a thread too
        await asyncio.get_running_loop().run_in_executor(ASKS, ask_for, self._place, session_id, holder, end)


def ask_for(place: Place, session_id: str, holder: int, end: float) -> None:
    """Ask the process that has a session to let it go. It waits, until `end` at most: call it in a thread.

    Raises:
        SessionBusy: it keeps the session; the message says why, and which process that is.
    """
    other = host_of(place, holder)
    if other is None or holder == os.getpid():
        raise driven_elsewhere(session_id, holder)
    where = f"It is in another of your hosts (pid {holder}, version {other.version})"
    try:
        answer = _asked(other, session_id, holder, end)
    except NoHost as refusal:
        raise SessionElsewhere(
            f"Session {session_id} cannot be moved here. {where}, which does not let it go: {refusal}.",
            "Use it from a client of that host, or call this again when that host's clients have ended.",
        ) from None
    except OSError:
        raise SessionBusy(
            f"Session {session_id} was not let go within {ANSWER_S:g} s. {where}, which may still keep its values.",
            "Call the tool again later; rlm_get_trace works meanwhile.",
        ) from None
    if answer[0] != GONE:
        # Its next step names calls that only its own clients can make.
        raise SessionElsewhere(
            f"{answer[1]} {where}.",
            "Await or stop it from a client of that host, or call this again later; rlm_get_trace works meanwhile.",
        )


def _left(end: float) -> float:
    """Raises: TimeoutError: nothing is left."""
    if (left := end - time.monotonic()) <= 0:
        raise TimeoutError
    return left


def _asked(other: Known, session_id: str, holder: int, end: float) -> list[str]:
    """Its answer; a host that is just ending lets go of everything. Raises: NoHost, OSError."""
    for path in (other.path, aside(other.place, other.version, holder)):
        with suppress(ConnectionError):  # it has just moved aside, or ended
            found = dataclasses.replace(other, path=path).ask(LET_GO, (session_id,), _left(end))
            if found is not None and found[0] == holder:
                return found[1]
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(holder)
        try:
            if not select.select([pidfd], [], [], _left(end))[0]:
                raise TimeoutError
        finally:
            os.close(pidfd)
    return [GONE]
