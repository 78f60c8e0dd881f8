"""An answer on its way out: it leaves when others can have what it tells, where a server sees to that.

Is: the wait, and the names in a step's report that nobody else can have yet. Is not: how a session becomes durable
(`session/carrying/durable.py` says by whom). At home it is a look at None. Above: `session/registry.py`,
`session/handles.py`. Below: `session/carrying/durable.py`, `session/kernels/session_kernel.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from rlm_kernel_mcp.session.account import Account
from rlm_kernel_mcp.session.carrying.durable import Durable, Progress
from rlm_kernel_mcp.session.kernels.session_kernel import SessionKernel
from rlm_kernel_mcp.session.reports import StepReport
from rlm_kernel_mcp.session.steps.delivery import NAMES_CHARS_MAX, fitting
from rlm_kernel_mcp.text.wording import counted

A = TypeVar("A")


class InUse(Protocol):
    """A session, as far as its answers have it."""

    session_id: str
    account: Account
    kernel: SessionKernel


def progress_of(session: InUse) -> Progress:
    """How far a session is."""
    recovery = session.kernel.recovery
    own_id, parent_id = session.session_id, session.account.parent_id
    return Progress(own_id, parent_id, session.kernel.last_step, recovery.snapshots, recovery.names)


async def acknowledged(durable: Durable | None, session: InUse, answer: A) -> A:
    """An answer that may leave now; a step's report names what is not durable yet. Raises: as `Durable.kept`."""
    if durable is None:
        return answer
    names = await durable.kept(progress_of(session))
    return _naming(answer, names) if names and isinstance(answer, StepReport) else answer  # type: ignore[return-value]


def _naming(report: StepReport, names: tuple[str, ...]) -> StepReport:
    """A report with these names, safe to show; those that are too many are counted."""
    shown, _ = fitting(names, NAMES_CHARS_MAX)
    left = len(names) - len(shown)
    more = f"{counted(left, 'more name')} {'is' if left == 1 else 'are'} not durable yet." if left else ""
    return replace(report, not_durable=shown, note=" ".join(filter(None, (report.note, more))) or None)
