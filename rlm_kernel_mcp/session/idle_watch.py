"""The watch over sessions that run no step, and their ends: which kernels are stopped, and which sessions released.

Is: what the registry does each second with each session, by the monotonic clock, and the charge for processor time
between steps; how a session is laid down that another process has asked for or its program has closed, and all at the
server's end. Is not: how time is measured (`session/kernels/idle_time.py`), nor who gives way to another
(`session/kernels/slots.py`).
Above: `registry.py`, `handles.py`. Below: `session.py`, `session/kernels/session_kernel.py`, `kernel/`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.kernel.thread_count import end_for_its_threads
from rlm_kernel_mcp.session.kernels.recovery import joined
from rlm_kernel_mcp.session.kernels.session_kernel import IDLE_SETTLE_S, STOP_SETTLE_S

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.session import Session

log = logging.getLogger(__name__)
IDLE_CHECK_S: Final = 1.0
KILL_S: Final = 1.0
"""How long the server's end waits for kernels that it kills."""
CONSOLE_HOLD_S: Final = 600.0
"""A person who ran a cell in an attached console this recently is at work: the kernel is not stopped as idle."""
CONSOLE_HOLD_MAX_S: Final = 12 * 3600.0
"""How long that can delay the stop: code in the kernel can make up cells again and again."""


async def watch_all(sessions: Mapping[str, Session], idle_timeout_s: float, let_go: Callable[[Session], None]) -> None:
    """Look at each session once a second until this is cancelled; one that waits for its kernel holds up no other."""
    looks: dict[str, asyncio.Task[None]] = {}
    try:
        while True:
            await asyncio.sleep(IDLE_CHECK_S)
            looks = {session_id: look for session_id, look in looks.items() if not look.done()}
            _look_at_each(sessions, idle_timeout_s, let_go, looks)
    finally:
        # The server ends: a look that waits for its kernel must not outlive this.
        for look in looks.values():
            look.cancel()


def _look_at_each(
    sessions: Mapping[str, Session],
    idle_timeout_s: float,
    let_go: Callable[[Session], None],
    looks: dict[str, asyncio.Task[None]],
) -> None:
    """Begin a look at each session that is not being looked at. `looks`: those that run, to which these are added.

    It is a call of its own since a loop's last session would stay in memory, with its answer, while the watch sleeps.
    """
    for session_id, session in list(sessions.items()):  # a copy: `let_go` removes from it
        if session_id in looks:
            continue
        if can_be_let_go(session, idle_timeout_s):
            let_go(session)
        elif session.idle_kernel is not None:
            look = asyncio.create_task(watch(session, idle_timeout_s), name=f"look at {session_id}")
            look.add_done_callback(_tell)
            looks[session_id] = look


def _tell(look: asyncio.Task[None]) -> None:
    """Log what failed in one session; it and the others are looked at again."""
    if not look.cancelled() and look.exception() is not None:
        log.error("the watch over an idle session failed", exc_info=look.exception())


async def watch(session: Session, idle_timeout_s: float) -> None:
    """Stop a kernel that is not used, or that works while no step runs."""
    kernel = session.idle_kernel
    if kernel is None or end_for_its_threads(kernel, session.kernel.recovery.policy.limits.threads):
        return
    if session.finalized:  # its end was begun and has failed
        await session.stop_kernel("the session was finalized", settle_s=0)
    elif session.kernel.idle_cpu_ms() > session.account.left.runtime_left_ms:  # less is charged with the next step
        session.kernel.charge_idle_cpu(session.account, session.journal)
        why = "it went on working after its step had ended and used up the session's runtime"
        await session.stop_kernel(why, settle_s=0)
    elif unused_s(session) > idle_timeout_s and not (
        unused_s(session) < idle_timeout_s + CONSOLE_HOLD_MAX_S and kernel.client.console_within(CONSOLE_HOLD_S)
    ):
        why = f"the session was idle for more than {idle_timeout_s:,} s (RLM_IDLE_TIMEOUT_S)"
        await session.stop_kernel(why, settle_s=IDLE_SETTLE_S)


def can_be_let_go(session: Session, idle_timeout_s: float) -> bool:
    """Whether nobody has used a session for so long, and its record and snapshots hold all there is to it."""
    return not session.held and unused_s(session) > idle_timeout_s


async def lay_down(session: Session, why: str, settle_s: float = IDLE_SETTLE_S) -> None:
    """End the kernel of a session that nobody uses, once its values are kept, for whoever opens the session next.

    `settle_s`: how long these are waited for.

    Raises:
        SessionBusy: it is used, before that or meanwhile.
    """
    _require_unused(session)
    if session.has_kernel:
        await session.stop_kernel(why, settle_s, but_cells=True)
        _require_unused(session, stopped=True)
    if loss := joined(session.told.unreported, session.kernel.take_loss()):
        session.journal.kernel_stopped(session.kernel.gone_reason, loss)


async def end_for_its_program(session: Session, let_go: Callable[[Session], None]) -> None:
    """End the kernel of a session that its program has closed and nobody else uses, and let the session go.

    If another client comes while the values are kept, it has the session, with its kernel. Where something is under way
    in it that is the program's, and is ended with the kernel.
    """
    why = "its program has closed it"
    if session.running or session.calls or session.contexts.under_way:
        await session.close(why)
    else:
        try:
            await lay_down(session, why, STOP_SETTLE_S)  # the program waits for this
        except SessionBusy:
            return
    let_go(session)


async def end_for_a_person(session: Session, why: str, let_go: Callable[[Session], None]) -> None:
    """End the kernel of a session, whoever uses it, and let the session go. A step or cell that runs ends with it.

    Raises:
        SessionBusy: it answers a question of a step of another session, which would wait for it in vain.
    """
    if session.asked is not None:
        raise SessionBusy(
            f"Session {session.session_id} answers a question of a step of session {session.account.parent_id}.",
            "End that one: its child sessions end with it.",
        )
    is_used = session.running or session.calls or session.contexts.under_way or session.kernel.runs_a_cell
    if not is_used:
        try:
            await lay_down(session, why)
        except SessionBusy:  # somebody came meanwhile
            is_used = True
    if is_used:
        await session.close(why)
    let_go(session)


def _require_unused(session: Session, *, stopped: bool = False) -> None:
    session.require_idle()
    if session.asked is not None:
        raise SessionBusy(
            f"Session {session.session_id} answers a question of a step that runs in the process which has it.",
            "Work in it over a connection to the same host; `rlm-kernel-mcp doctor` says why there is none.",
        )
    if session.kernel.runs_a_cell:
        raise SessionBusy(
            f"A person's cell is running in session {session.session_id}, from an attached console.",
            "Call the tool again when it has ended: Ctrl-C in that console stops it.",
        )
    if session.calls or session.changing or session.contexts.under_way or (stopped and session.has_kernel):
        at = "loads or checks a context" if session.contexts.under_way else "answers another call"
        raise SessionBusy(f"Session {session.session_id} {at} at this moment.", "Call the tool again soon.")


async def end_all(sessions: Collection[Session], within_s: float) -> None:
    """The server ends: end every session's kernel, whatever one of them does."""
    sessions = list(sessions)
    closing = {asyncio.ensure_future(session.close("the server ended")) for session in sessions}
    if not closing:
        return
    # `wait` cancels nothing at its deadline, so that each close gets to its own clean-up.
    done, late = await asyncio.wait(closing, timeout=within_s)
    for problem in await asyncio.gather(*done, return_exceptions=True):
        if isinstance(problem, Exception):  # of one session; the others are closed all the same
            log.error("a session's close failed", exc_info=problem)
    for task in late:
        log.error("a session was not closed within %.0f s", within_s)
        task.cancel()
    left = [session.kernel.current for session in sessions if session.kernel.current is not None]
    if left:
        ends = {asyncio.ensure_future(kernel.kill("the server ended")) for kernel in left}
        await asyncio.wait(ends, timeout=KILL_S)


def unused_s(session: Session) -> float:
    """Seconds since a call used it, or a step of it ended."""
    return time.monotonic() - session.used_at_s
