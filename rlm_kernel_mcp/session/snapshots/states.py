"""The states of a snapshot, and of the values' way back into a fresh kernel. Sans-I/O.

Is: two tables that are the state machines. Is not: what is done in a state (`taking.py`, `restoring.py`).
Above: those two, `run.py`. Below: nothing.

Rules
=====

1. Whatever decides how a snapshot goes on stands in `TAKING`, and whatever decides how values come back stands in
   `RESTORING`. The code that takes or restores reports what has happened (an event) and asks for the state; it has no
   flags beside it.
2. An event that a state's row does not have raises `ImpossibleEvent`: that is a bug of ours. Whatever a kernel says,
   does or fails to do is an event in the rows of all states in which anybody listens to it.
3. A final state has an empty row: no event reaches it any more.

Theory of operation
===================

One snapshot (`SnapshotRun`) begins with the end of its step. Two things then go on at once. The kernel takes its values
and sends them by itself, in one message, right behind its reply (*inline*). The host takes the snapshots of a session
one after the other, so that this one may have to wait for the one before it to be in the file. So there are two ways
from QUEUED to CHECKING, by the two events in either order: through ANSWERED where the kernel was first, through INLINE
where the host was.

A third thing can happen at any moment: the next step comes (STEP_CAME). From then on a snapshot is worth only a
moment's wait: what the kernel has sent is kept, and what it has not sent is not asked for. So the four states before
the decision between message and pipe stand in the table twice; in those named SUPERSEDED no pipe follows any more.
After that decision a step that comes changes nothing but the signals that `yield_to_step` sends.

The kernel is at work for the snapshot in the states of `KERNEL_AT_WORK`, and in no other: there alone a step waits for
it, and there alone its processor time is not charged yet.

What lasts from one snapshot to the next is not a state of a snapshot, and each of it has its own place: which snapshot
the host has (`confirmed.py`), what of the file still has to be written (`changes.py`), and which kernel did not let go
when it was asked to (`SnapshotTaker`: nothing is asked of that one any more).

The way back (`Effort`) may take several kernels: a value's own code can end each of them. The first kernel gets all
values at once; each later one gets them one by one, so that the value that ends it is known and left out; and when the
tries are used up a last kernel gets none.

What must stay in step
======================

The pictures in `docs/design.md` are drawn from the two tables (`tests/unit/test_pictures.py`), and the real classes
reach every pair of a state and an event in `tests/unit/session/snapshots/`. Two things are not in the tables and must
stay in step with them: `SnapshotRun.note_answer` tells ANSWER_CAME once, and `SnapshotRun.supersede` and `cut_off` tell
nothing to a snapshot that has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class Taking(Enum):
    """The states of one snapshot."""

    QUEUED = auto()
    """The one before is not in the file yet, and the kernel is at work."""
    QUEUED_SUPERSEDED = auto()
    ANSWERED = auto()
    """The one before is not in the file yet, and the kernel's message is there or will never be."""
    ANSWERED_SUPERSEDED = auto()
    INLINE = auto()
    """It is its turn: the kernel's own message is awaited."""
    INLINE_SUPERSEDED = auto()
    CHECKING = auto()
    """The message is there, or the kernel has ended."""
    CHECKING_SUPERSEDED = auto()
    PIPING = auto()
    """The kernel was asked to send through a pipe what does not fit a message."""
    STORING = auto()
    """Everything has come; it is on its way into the file."""

    KEPT = auto()
    """It is in the file."""
    UNCHANGED = auto()
    """The file had it already, except for the number of the step."""
    SUPERSEDED = auto()
    """The next step came before it was sent; what was not sent stays as it was."""
    GIVEN_UP = auto()
    """The kernel has ended, or what it sends is nonsense, or nobody waits any more."""
    HUNG = auto()
    """The kernel did not let go of a value."""
    DISK_FAILED = auto()
    """The file could not be written."""


class TakingEvent(Enum):
    """What happens to a snapshot."""

    TURN_CAME = auto()
    """The snapshot before it is in the file, or given up."""
    ANSWER_CAME = auto()
    """The kernel's own message is there, or the kernel has ended."""
    STEP_CAME = auto()
    """The next step waits."""
    NO_ANSWER = auto()
    """The message did not come in the time that a small snapshot has."""
    FITS = auto()
    """The message has what is to be kept."""
    TOO_LARGE = auto()
    """The message says that it does not fit one."""
    NOTHING_NEW = auto()
    """The message says what the file has."""
    OF_NO_USE = auto()
    """The message was asked for before the disk failed: what it says has changed may be too little."""
    STREAM_CAME = auto()
    """The whole stream of the pipe, and the kernel's report."""
    STORED = auto()
    BROKEN = auto()
    """The kernel has ended, or breaks the format or a bound."""
    TIMED_OUT = auto()
    """The kernel does not answer, however often it is signalled."""
    CONSOLE_BUSY = auto()
    """The same while a person's cell runs, which is not the fault of a value."""
    DISK_REFUSED = auto()
    CUT_OFF = auto()
    """The server ends."""


_T, _E = Taking, TakingEvent
TAKING: Final[Mapping[Taking, Mapping[TakingEvent, Taking]]] = {
    _T.QUEUED: {
        _E.TURN_CAME: _T.INLINE,
        _E.ANSWER_CAME: _T.ANSWERED,
        _E.STEP_CAME: _T.QUEUED_SUPERSEDED,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.QUEUED_SUPERSEDED: {
        _E.TURN_CAME: _T.INLINE_SUPERSEDED,
        _E.ANSWER_CAME: _T.ANSWERED_SUPERSEDED,
        _E.STEP_CAME: _T.QUEUED_SUPERSEDED,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.ANSWERED: {
        _E.TURN_CAME: _T.CHECKING,
        _E.STEP_CAME: _T.ANSWERED_SUPERSEDED,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.ANSWERED_SUPERSEDED: {
        _E.TURN_CAME: _T.CHECKING_SUPERSEDED,
        _E.STEP_CAME: _T.ANSWERED_SUPERSEDED,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.INLINE: {
        _E.ANSWER_CAME: _T.CHECKING,
        _E.NO_ANSWER: _T.PIPING,
        _E.STEP_CAME: _T.INLINE_SUPERSEDED,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.INLINE_SUPERSEDED: {
        _E.ANSWER_CAME: _T.CHECKING_SUPERSEDED,
        _E.NO_ANSWER: _T.INLINE_SUPERSEDED,  # `yield_to_step` signals the kernel by now
        _E.STEP_CAME: _T.INLINE_SUPERSEDED,
        _E.TIMED_OUT: _T.HUNG,
        _E.CONSOLE_BUSY: _T.GIVEN_UP,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.CHECKING: {
        _E.FITS: _T.STORING,
        _E.TOO_LARGE: _T.PIPING,
        _E.OF_NO_USE: _T.PIPING,
        _E.NOTHING_NEW: _T.UNCHANGED,
        _E.STEP_CAME: _T.CHECKING_SUPERSEDED,
        _E.BROKEN: _T.GIVEN_UP,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.CHECKING_SUPERSEDED: {
        _E.FITS: _T.STORING,
        _E.TOO_LARGE: _T.SUPERSEDED,
        _E.OF_NO_USE: _T.SUPERSEDED,
        _E.NOTHING_NEW: _T.UNCHANGED,
        _E.STEP_CAME: _T.CHECKING_SUPERSEDED,
        _E.BROKEN: _T.GIVEN_UP,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.PIPING: {
        _E.STREAM_CAME: _T.STORING,
        _E.STEP_CAME: _T.PIPING,
        _E.BROKEN: _T.GIVEN_UP,
        _E.TIMED_OUT: _T.HUNG,
        _E.CONSOLE_BUSY: _T.GIVEN_UP,
        _E.DISK_REFUSED: _T.DISK_FAILED,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.STORING: {
        _E.STORED: _T.KEPT,
        _E.STEP_CAME: _T.STORING,
        _E.BROKEN: _T.GIVEN_UP,
        _E.DISK_REFUSED: _T.DISK_FAILED,
        _E.CUT_OFF: _T.GIVEN_UP,
    },
    _T.KEPT: {},
    _T.UNCHANGED: {},
    _T.SUPERSEDED: {},
    _T.GIVEN_UP: {},
    _T.HUNG: {},
    _T.DISK_FAILED: {},
}

KERNEL_AT_WORK: Final = frozenset({_T.QUEUED, _T.QUEUED_SUPERSEDED, _T.INLINE, _T.INLINE_SUPERSEDED, _T.PIPING})
"""The states in which the kernel has something to do for the snapshot."""
AWAITS_ANSWER: Final = frozenset(state for state, row in TAKING.items() if _E.ANSWER_CAME in row)
"""The states in which the kernel's own message is listened to; in all others it comes too late."""
ENDED: Final = frozenset(state for state, row in TAKING.items() if not row)


class Restoring(Enum):
    """The states of the values' way back."""

    NO_KERNEL = auto()
    """None of the fresh kernels is there yet."""
    ALL_AT_ONCE = auto()
    ONE_BY_ONE = auto()
    """A kernel has ended while it was filled."""
    BARE = auto()
    """The tries are used up: the context alone."""

    RESTORED = auto()
    WITHOUT_VALUES = auto()
    GIVEN_UP = auto()
    """No kernel could be started, or nobody wants one any more; nothing is lost by it."""


class RestoringEvent(Enum):
    """What happens on the way back."""

    KERNEL_CAME = auto()
    """A fresh kernel is there; the one before, if any, has ended."""
    TRIES_ENDED = auto()
    """The last kernel that gets values has ended too."""
    FILLED = auto()
    """The kernel has what is meant for it."""
    CUT_OFF = auto()


_R, _F = Restoring, RestoringEvent
RESTORING: Final[Mapping[Restoring, Mapping[RestoringEvent, Restoring]]] = {
    _R.NO_KERNEL: {_F.KERNEL_CAME: _R.ALL_AT_ONCE, _F.CUT_OFF: _R.GIVEN_UP},
    _R.ALL_AT_ONCE: {
        _F.FILLED: _R.RESTORED,
        _F.KERNEL_CAME: _R.ONE_BY_ONE,
        _F.TRIES_ENDED: _R.BARE,
        _F.CUT_OFF: _R.GIVEN_UP,
    },
    _R.ONE_BY_ONE: {
        _F.FILLED: _R.RESTORED,
        _F.KERNEL_CAME: _R.ONE_BY_ONE,
        _F.TRIES_ENDED: _R.BARE,
        _F.CUT_OFF: _R.GIVEN_UP,
    },
    _R.BARE: {_F.FILLED: _R.WITHOUT_VALUES, _F.KERNEL_CAME: _R.BARE, _F.CUT_OFF: _R.GIVEN_UP},
    _R.RESTORED: {},
    _R.WITHOUT_VALUES: {},
    _R.GIVEN_UP: {},
}
