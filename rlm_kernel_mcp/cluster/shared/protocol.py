"""The store that all nodes of a cluster share, as whoever uses it sees it.

Is: the contract of every shared store: who drives a session by epochs, a log of frames for each, blobs by their hashes.
Is not: what is in a frame, or where the bytes lie (`places/medium.py`). Above: the nodes and routers of a cluster.
Below: nothing.

An **epoch** of a session is had by one store object in one process: whoever claims the next one seals those before it.
What is appended is made durable, and only then the epoch is looked at: so a node that was taken for dead can write, and
acknowledges nothing; and what was acknowledged before the claim is read after it. No clock decides anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

KEY_CHARS_MAX: Final = 1_024
BODY_BYTES_MAX: Final = 256 << 20
KINDS: Final = 256

FaultPoints = Callable[[str], None]
"""Called with the name of a line that is reached, in the thread that is there. A test ends the process in it, or raises
`OSError`; it is handed over by a program's own code, and nothing from outside gets there."""


def no_faults(_line: str) -> None:
    """Nothing happens on any line."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes under a key: a later frame of the same key replaces an earlier one.

    `kind`: a number of the caller's, below 256. `body`: None removes what the key had.
    """

    kind: int
    key: str
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has the newest epoch of a session."""

    session_id: str
    epoch: int
    node: str


@dataclass(frozen=True, slots=True)
class Room:
    """`free_mb`: what is free where the store lies; None where that is not to be known. The rest is this process's."""

    free_mb: int | None
    log_mb: int
    """What its own log has on disk."""
    live_mb: int
    """What of that is of use: the newest frame of each key of its sessions."""
    sessions: int
    """Epochs that it has."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep removed."""

    logs: int
    blobs: int


class Judge(Protocol):
    """Says which sessions nobody needs any more. It is asked in a thread."""

    key: str
    """Of the frame that it goes by."""

    def may_go(self, claim: Claim) -> bool:
        """Whether a session is to be looked at. It is asked of the newest claim of each, before anything is read."""
        ...

    def goes(self, claim: Claim, body: bytes) -> bool:
        """Whether it is to be removed, by the newest of these frames."""
        ...


class SharedStore(Protocol):
    """One process's way to the store. Its methods belong to one event loop, and none waits without a bound.

    Each raises StoreUnavailable where the store does not answer, is full, is read-only or is gone. Then nothing is
    acknowledged, and what was acknowledged stays. ValueError: a name or a frame is none.
    """

    async def claim(self, session_id: str, epoch: int, node: str) -> None:
        """Take a session over: when this returns, all that older epochs acknowledged is this one's, and is durable.

        It may be called again with the same epoch after it has failed.

        Raises:
            SessionMoved: that epoch, or a newer one, is somebody else's.
            StoreDamaged: bytes of an older epoch are not what was written.
        """
        ...

    async def newest(self, session_id: str) -> Claim | None:
        """Who has the newest epoch; None where nobody ever had one, or the session was removed. Any text is a name."""
        ...

    async def sessions(self) -> list[Claim]:
        """The newest claim of each session, in the order of their names."""
        ...

    async def append(self, session_id: str, epoch: int, frames: Sequence[Frame]) -> None:
        """All frames or none: when this returns they are durable, and the epoch was still one's own after that.

        Appends of one session keep their order; those that wait at the same time share one write.

        Raises:
            SessionMoved: somebody has a newer epoch. Nothing of this is in the log, but for what was being written in
                the very moment of that claim: that may be read, or not.
        """
        ...

    def read(self, session_id: str, epoch: int) -> AsyncIterator[Frame]:
        """The newest frame of each key, in the order in which they were written; of one's own epoch.

        Raises:
            SessionMoved: this store object does not have that epoch.
            StoreDamaged: a body is not what was written.
        """
        ...

    async def leave(self, session_id: str, epoch: int) -> None:
        """Append nothing more to it from here on. The claim and the bytes stay until somebody takes over."""
        ...

    async def put_blob(self, session_id: str, sha256: str, chunks: Iterable[bytes]) -> None:
        """Have a blob, which a session uses from now on. `chunks` are taken in a thread, and not if it is there.

        Raises:
            ValueError: the chunks have another hash; nothing is put.
        """
        ...

    async def has_blob(self, sha256: str) -> bool: ...

    def blob(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes in pieces. Raises: StoreDamaged: there is none, or, after the last piece, its hash is another."""
        ...

    async def remove(self, session_id: str) -> None:
        """Forget a session, whoever has it: that one's next append raises SessionMoved. Of none this does nothing."""
        ...

    async def forget(self, node: str, judge: Judge) -> list[str]:
        """Remove sessions that nobody needs; a bounded number at a time. Returns which.

        A frame is first read beside whoever drives the session, and may be older than what was acknowledged: so the
        judge is asked once more when nobody can append any more. Whoever claims the session meanwhile keeps it.
        """
        ...

    async def room(self) -> Room: ...

    async def sweep(self) -> Swept:
        """Remove logs of processes that are gone and that no session needs, and blobs that no session uses.

        A store that has claimed something does it by itself, once an hour.
        """
        ...

    async def close(self) -> None:
        """End the threads; a log that no session needs is removed. Safe to call twice."""
        ...
