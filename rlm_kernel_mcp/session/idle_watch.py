"""The watch over sessions that run no step: whose kernel is stopped, and who is let go.

Is: what the registry does each second with each session, by the monotonic clock, and the charge for processor time
between steps. Is not: how that is measured (`idle_time.py`), nor who gives way to another (`places.py`).
Above: `session.py`, `registry.py`. Below: `kernel_life.py`, `watch.py`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.session.watch import kill_for_its_threads

if TYPE_CHECKING:
    from rlm_kernel_mcp.session.session import Session

CONSOLE_HOLD_S: Final = 600.0
"""A person who ran a cell in an attached console this recently is at work: the kernel is not stopped as idle."""


async def watch(session: Session, idle_timeout_s: float) -> None:
    """Stop a kernel that is not used, or that works while no step runs."""
    kernel = session.idle_kernel
    if kernel is None or kill_for_its_threads(kernel, session.life.recovery.policy.limits):
        return
    if session.finalized:  # its end was begun, and failed
        await session.stop_kernel("the session was finalized")
    elif session.life.idle_cpu_ms() > session.account.left.runtime_left_ms:
        charge(session)
        await session.stop_kernel("it went on working after its step had ended and used up the session's runtime")
    elif unused_s(session) > idle_timeout_s and not kernel.client.console_within(CONSOLE_HOLD_S):
        await session.stop_kernel(f"the session was idle for more than {idle_timeout_s:,} s (RLM_IDLE_TIMEOUT_S)")


def can_be_let_go(session: Session, idle_timeout_s: float) -> bool:
    """Whether its record and its snapshots have all that there is to a session that nobody has used for so long."""
    return not session.held and unused_s(session) > idle_timeout_s


def unused_s(session: Session) -> float:
    """Seconds since a call used it, or a step of it ended."""
    return time.monotonic() - session.used_at_s


def charge(session: Session) -> None:
    """Code that runs on after its step's claimed end is charged by what the kernel used, seen from outside."""
    used_ms = session.life.idle_cpu_ms()
    if used_ms:
        account = session.account
        account.charge_runtime(used_ms)
        summary = f"{used_ms:,} ms of processor time used between steps, charged as runtime"
        session.journal.event("run_repl", account.counters.step_index, "charged", summary, account)
        account.check()
        session.life.idle_cpu_charged()
