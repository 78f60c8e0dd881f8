"""The states of a session. Sans-I/O.

Is: four tables that are its state machines, and the word that a client reads. Is not: what a call does in a state
(`session/session.py`), how it gets a kernel (`session/kernels/session_kernel.py`), or what a limit is
(`session/account.py`). Above: those. Below: `machine.py`, `session/reports.py`.

Rules
=====

1. A session moves through these tables alone: the code that does something to it reports what has happened, and asks
for the state. 2. An event is seen by each machine whose table names it anywhere, and has to be in the row of the state
of each of
   them. If one of them does not have it, `ImpossibleEvent` is raised and none of them moves: that is a bug of ours.
   What a client may ask for at a wrong moment is refused before it becomes an event.

Theory of operation
===================

There are four machines, since four things about a session come and go independently:

- LIFE: whether it is open at all. A final answer and the end of the server both mean that no kernel is started any
  more; the answer alone is for good.
- STEP: whether a step runs.
- LIMIT: whether one was reached. That is for good, and it ends no step that runs.
- KERNEL: whether there is one. A kernel that could not be started (REFUSED) is tried for again with the next use, and
  until there is one the session is called dead.

They are coupled by the events that several of them see. STEP_BEGAN stands in the rows of an open or closed life (its
code may still run where the server ends), of no running step and of no reached limit; so a step that begins in any
other state is impossible. FINAL_ANSWER needs that no step runs. RESTORE_BEGAN needs an open life.

What must stay in step
======================

`WORDS` has the words of `rlm_list_sessions`, and their order counts. The pictures in `docs/design.md` are drawn from
the tables (`tests/unit/test_pictures.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from rlm_kernel_mcp.session.reports import SessionStatus
from rlm_kernel_mcp.session.states.machine import state_after


class Event(Enum):
    """What happens to a session."""

    STEP_BEGAN = auto()
    STEP_ENDED = auto()
    LIMIT_REACHED = auto()
    RESTORE_BEGAN = auto()
    """A fresh kernel is being sought."""
    KERNEL_CAME = auto()
    KERNEL_REFUSED = auto()
    """None could be started."""
    RESTORE_CUT_OFF = auto()
    """Nobody wants it any more, or all slots are held; that says nothing about the next try."""
    KERNEL_WENT = auto()
    FINAL_ANSWER = auto()
    SERVER_ENDS = auto()


class Life(Enum):
    """Whether a session is open."""

    OPEN = auto()
    CLOSED = auto()
    """Its server ends; another one may open it again."""
    FINALIZED = auto()


class Step(Enum):
    """Whether a step runs."""

    IDLE = auto()
    RUNNING = auto()


class Limit(Enum):
    """Whether a limit was reached."""

    WITHIN = auto()
    REACHED = auto()


class HasKernel(Enum):
    """Whether there is a kernel."""

    ABSENT = auto()
    COMING = auto()
    PRESENT = auto()
    REFUSED = auto()
    """None could be started."""
    COMING_AGAIN = auto()
    """It is tried again after that."""


_E = Event
LIFE: Final[Mapping[Life, Mapping[Event, Life]]] = {
    Life.OPEN: {
        _E.STEP_BEGAN: Life.OPEN,
        _E.RESTORE_BEGAN: Life.OPEN,
        _E.SERVER_ENDS: Life.CLOSED,
        _E.FINAL_ANSWER: Life.FINALIZED,
    },
    Life.CLOSED: {
        _E.STEP_BEGAN: Life.CLOSED,
        _E.SERVER_ENDS: Life.CLOSED,
        _E.FINAL_ANSWER: Life.FINALIZED,
    },
    Life.FINALIZED: {_E.SERVER_ENDS: Life.FINALIZED},
}
STEP: Final[Mapping[Step, Mapping[Event, Step]]] = {
    Step.IDLE: {_E.STEP_BEGAN: Step.RUNNING, _E.FINAL_ANSWER: Step.IDLE},
    Step.RUNNING: {_E.STEP_ENDED: Step.IDLE},
}
LIMIT: Final[Mapping[Limit, Mapping[Event, Limit]]] = {
    Limit.WITHIN: {_E.STEP_BEGAN: Limit.WITHIN, _E.LIMIT_REACHED: Limit.REACHED},
    Limit.REACHED: {},
}
KERNEL: Final[Mapping[HasKernel, Mapping[Event, HasKernel]]] = {
    HasKernel.ABSENT: {_E.RESTORE_BEGAN: HasKernel.COMING, _E.KERNEL_CAME: HasKernel.PRESENT},
    HasKernel.COMING: {
        _E.KERNEL_CAME: HasKernel.PRESENT,
        _E.KERNEL_REFUSED: HasKernel.REFUSED,
        _E.RESTORE_CUT_OFF: HasKernel.ABSENT,
    },
    HasKernel.PRESENT: {_E.KERNEL_WENT: HasKernel.ABSENT},
    HasKernel.REFUSED: {_E.RESTORE_BEGAN: HasKernel.COMING_AGAIN},
    HasKernel.COMING_AGAIN: {
        _E.KERNEL_CAME: HasKernel.PRESENT,
        _E.KERNEL_REFUSED: HasKernel.REFUSED,
        _E.RESTORE_CUT_OFF: HasKernel.REFUSED,
    },
}

_LIFE_SEES: Final = frozenset(event for row in LIFE.values() for event in row)
_STEP_SEES: Final = frozenset(event for row in STEP.values() for event in row)
_LIMIT_SEES: Final = frozenset(event for row in LIMIT.values() for event in row)
_KERNEL_SEES: Final = frozenset(event for row in KERNEL.values() for event in row)

WORDS: Final[Mapping[Enum, SessionStatus]] = {
    Life.FINALIZED: "finalized",
    Step.RUNNING: "running",
    HasKernel.REFUSED: "dead",
    HasKernel.COMING_AGAIN: "dead",
    Limit.REACHED: "stopped",
}
"""What a session is called: the word of the first of these states that it is in, else "idle"."""


class SessionStates:
    """The states of one session."""

    def __init__(self) -> None:
        self.life = Life.OPEN
        self.step = Step.IDLE
        self.limit = Limit.WITHIN
        self.kernel = HasKernel.ABSENT

    def on(self, event: Event) -> None:
        """Take an event. Raises ImpossibleEvent, and nothing has changed, if a table does not have it."""
        life = state_after(LIFE, self.life, event) if event in _LIFE_SEES else self.life
        step = state_after(STEP, self.step, event) if event in _STEP_SEES else self.step
        limit = state_after(LIMIT, self.limit, event) if event in _LIMIT_SEES else self.limit
        kernel = state_after(KERNEL, self.kernel, event) if event in _KERNEL_SEES else self.kernel
        self.life, self.step, self.limit, self.kernel = life, step, limit, kernel

    @property
    def word(self) -> SessionStatus:
        """What a client reads."""
        states = (self.life, self.step, self.limit, self.kernel)
        return next((word for state, word in WORDS.items() if state in states), "idle")

    @property
    def is_open(self) -> bool:
        """Whether a kernel may be started for it."""
        return self.life is Life.OPEN

    @property
    def is_finalized(self) -> bool:
        return self.life is Life.FINALIZED

    @property
    def is_running(self) -> bool:
        return self.step is Step.RUNNING
