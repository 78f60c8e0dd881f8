"""What an answer waits for beside this server's own record: that others can have the session as the answer tells it.

Is: the contract of whoever sees to that, and what is handed to it. Is not: where the session is kept for others, which
is a cluster's (`cluster/node/`); a server at home has nobody here, and waits for nothing. Above:
`session/calls/acknowledging.py`, `session/reopening.py`. Below: `session/snapshots/`.

The order in which a session's parts become durable is values first, then rows: a node that is lost between the two
leaves a step that nobody was told of, and never a value that is said to be newer than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rlm_kernel_mcp.session.snapshots.taking import SnapshotTaker


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a session is when one of its answers is about to leave."""

    session_id: str
    parent_id: str
    """The session whose code asked for it; empty: none."""
    step: int
    """The last step that ended with its kernel alive: the one whose values count."""
    snapshots: SnapshotTaker
    bound: Mapping[str, tuple[str, int]]
    """Names that its steps have bound: type, and the step that did so last."""


class Durable(Protocol):
    """Keeps the sessions of a server where others can have them. Its methods belong to the event loop."""

    def require(self, session_id: str) -> None:
        """Raise SessionMoved unless the session is this server's to drive. Waits for nothing.

        Asked before a session that is not in memory is opened from the record here.
        """

    def begun(self, session_id: str) -> None:
        """The record has that a step has begun; its code is about to run. Waits for nothing."""

    async def opened(self, progress: Progress) -> None:
        """Return when others can have a new session. Raises: RlmError: they cannot, and there will be no session."""

    async def released(self, progress: Progress) -> None:
        """Return when others can have all of a session that is let go of: its kernel has ended, and nobody uses it.

        Raises: RlmError: they cannot; the session stays here.
        """

    async def kept(self, progress: Progress) -> tuple[str, ...]:
        """Return when others can have all that a session's answer tells; the names whose values they cannot have yet.

        The waits in it have bounds: what is beyond them follows in the background, and its names are returned. It is
        called for each answer, in any order and several times at once.

        Raises:
            SessionMoved: another node drives the session. Whoever keeps it ends it here (`moving.py`).
            RlmError: whether others can have it is not known; the call is answered with this.
        """
