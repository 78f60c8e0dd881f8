"""How a step ended, and the newest outcomes of all sessions of a server, kept in memory in case one is asked for again.

Is: at most `MEMORY_BYTES` of them, over all sessions. Is not: the record: what is not here is read from the journal,
which has all of it. Above: `run.py`, `session/trace/journal.py`. Below: `session/reports.py`.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.kernel.untrusted.exploring import NOTHING, Use
from rlm_kernel_mcp.kernel.untrusted.shown.displays import Display, Reason
from rlm_kernel_mcp.session.parked.reports import QuestionPage
from rlm_kernel_mcp.session.reports import LossReport, StepError, StepStatus, Subcalls, Variable

MEMORY_BYTES: Final = 16 << 20
"""Bytes of texts and displays, over all sessions of a server."""
RECENT_STEPS: Final = 8
"""Outcomes of one session."""


@dataclass(slots=True)
class Outcome:
    """How a step ended, with its whole output as the kernel gave it: raw, not yet safe to show."""

    status: StepStatus
    duration_ms: int
    stdout: str = ""
    stderr: str = ""
    result: str | None = None
    error: StepError | None = None
    updated: tuple[Variable, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    displays: tuple[Display, ...] = ()
    left_out: dict[Reason, int] = field(default_factory=dict)
    """How much of what it displayed is not kept, and why."""
    kernel_gone: str | None = None
    """Why the kernel is gone, if it is."""
    lost: LossReport | None = None
    rungs: tuple[str, ...] = ()
    """What the ladder did, in order."""
    late_chars: int = 0
    """How many characters at the beginning of the streams were printed before the step."""
    refused: RlmError | None = None
    """Why its code did not run: this is what its call is answered."""
    contexts_changed: tuple[str, ...] = ()
    used: Use = NOTHING
    """What it did with the exploring functions, according to the kernel."""
    code_chars: int = 0
    news: str = ""
    """What is to be said of contexts that came since a call was answered."""
    subcalls: Subcalls | None = None
    """What has become of its questions."""
    page: Callable[[int], QuestionPage] | None = None
    """Makes a page of those that wait for whoever drives the session, of so many characters; None: there is none."""

    @classmethod
    def refusal(cls, error: RlmError) -> Outcome:
        """Of a step whose code did not run, since a context that it waited for could not be loaded."""
        return cls("error", 0, error=StepError(error.code, error.message, ""), refused=error)

    @property
    def chars(self) -> int:
        """Characters of its texts and displays."""
        traceback = self.error.traceback if self.error else ""
        texts = (self.stdout, self.stderr, self.result or "", traceback, *(display.data for display in self.displays))
        return sum(map(len, texts))


class Outcomes:
    """One server's. Belongs to the event loop."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._room = memory_bytes
        self._held: OrderedDict[tuple[str, int], tuple[Outcome, int]] = OrderedDict()

    def add(self, session_id: str, index: int, outcome: Outcome) -> None:
        """Keep an outcome if it can fit at all; the oldest ones make room for it."""
        self._drop((session_id, index - RECENT_STEPS))
        self._drop((session_id, index))
        size = _size(outcome)
        self._held[session_id, index] = outcome, size
        self._room -= size
        while self._room < 0:
            self._drop(next(iter(self._held)))

    def get(self, session_id: str, index: int) -> Outcome | None:
        """The outcome of a step, if it is here."""
        found = self._held.get((session_id, index))
        return None if found is None else found[0]

    def forget(self, session_id: str) -> None:
        """Keep nothing of a session."""
        for key in [key for key in self._held if key[0] == session_id]:
            self._drop(key)

    def _drop(self, key: tuple[str, int]) -> None:
        _, size = self._held.pop(key, (None, 0))
        self._room += size


def _size(outcome: Outcome) -> int:
    """About its bytes in memory: a text takes one to four for each character."""
    error = outcome.error
    texts = [outcome.stdout, outcome.stderr, outcome.result or "", *(display.data for display in outcome.displays)]
    texts += [error.evalue, error.traceback] if error is not None else []
    names = sum(100 + len(row.name) + len(row.type) for row in outcome.updated)
    claims = sum(400 + len(claim.text) for claim in outcome.used.claims)
    return sum(map(sys.getsizeof, texts)) + names + claims + 1_000


def out_of_processor_time(limit_s: int, error: StepError | None) -> StepError:
    """The error of a step that went on beyond its processor time. `error`: what it raised, if it did."""
    words = (
        f"the step's processor time limit of {limit_s:,} s is reached; it went on after it was told, and was stopped"
    )
    return StepError("TimeoutError", words, error.traceback if error else "")


def tell_limit(outcome: Outcome, overrun: str) -> None:
    """Say in the step's error why it was interrupted, or on stderr where its code caught the interrupt."""
    error = outcome.error
    if error is not None and error.ename == "KeyboardInterrupt" and not error.evalue:
        outcome.error = StepError(error.ename, overrun, f"{error.traceback}: {overrun}" if error.traceback else "")
    else:
        end = "" if outcome.stderr.endswith("\n") or not outcome.stderr else "\n"
        outcome.stderr += f"{end}[{overrun}]\n"
