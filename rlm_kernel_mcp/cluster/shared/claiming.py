"""How an epoch is had: made, the older ones sealed, and what they acknowledged carried over.

Is: the order in which that is safe, wherever it is cut off. Is not: how a claim lies in the store
(`places/medium.py`). It blocks. Above: `store.py`. Below: `committing.py`, `scanning.py`, `places/medium.py`.

Made first, and only then looked who else is there: of two who do that, at least one sees the other. A claim counts when
it is marked whole; the older ones are dropped only after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from rlm_kernel_mcp.cluster.shared.committing import Committer, Wanted
from rlm_kernel_mcp.cluster.shared.groups import Placed, cost, sound
from rlm_kernel_mcp.cluster.shared.index import Frames
from rlm_kernel_mcp.cluster.shared.places.medium import Claimed, Medium
from rlm_kernel_mcp.cluster.shared.protocol import FaultPoints, Frame
from rlm_kernel_mcp.cluster.shared.scanning import TRIES, Scans
from rlm_kernel_mcp.errors import SessionMoved, StoreDamaged

PIECE_BYTES: Final = 4 << 20
"""So much is in memory while frames are carried over, and one frame more."""


def moved(claim: Claimed) -> SessionMoved:
    return SessionMoved(
        f"Session {claim.session_id} is driven by node {claim.node!r}, which has its epoch {claim.epoch}."
    )


class Claiming:
    def __init__(
        self, medium: Medium, scans: Scans, committer: Committer, faults: FaultPoints, within_s: float
    ) -> None:
        self._medium = medium
        self._scans = scans
        self._committer = committer
        self._at = faults
        self._within_s = within_s

    def claim(self, session_id: str, epoch: int, node: str) -> Claimed:
        """Have an epoch, with all that older ones acknowledged.

        Raises:
            SessionMoved, StoreDamaged, OSError, TimeoutError.
        """
        own = Claimed(session_id, epoch, node, self._committer.log.name)
        is_new = self._medium.put_claim(own)
        self._at("claim_linked")
        if not is_new:
            self._medium.refresh(session_id)
        claims = self._medium.claims(session_id)
        if claims and claims[-1].epoch > epoch:
            if is_new:
                self._medium.drop_claim(own)
            raise moved(claims[-1])
        if own not in claims:  # that epoch is had by another process, or was by this one's log before
            raise moved(claims[-1]) if claims else SessionMoved(f"Session {session_id} was removed.")
        older = [claim for claim in claims if claim.epoch < epoch]
        for claim in older:
            self._medium.seal(claim)
        self._at("claim_sealed")
        if not self._medium.is_whole(own):
            try:
                self._take_over(own, older)
            except (StoreDamaged, OSError):
                # Whoever has a newer epoch may have dropped meanwhile what this one was to take over.
                if not self._medium.is_own(own):
                    raise SessionMoved(f"Session {session_id} was taken over meanwhile.") from None
                raise
        for claim in older:
            self._medium.drop_claim(claim)
        return own

    def _take_over(self, own: Claimed, older: Sequence[Claimed]) -> None:
        last = self._last_whole(older)
        for claim in older[older.index(last) + 1 :] if last else older:
            self._medium.drop_claim(claim)  # sealed, and never whole: of no use, and there may be many
        self._carry(last, own)

    def _last_whole(self, older: Sequence[Claimed]) -> Claimed | None:
        """Whose log has everything that was acknowledged; None: nothing was."""
        if older and not self._medium.is_whole(older[-1]):
            self._medium.refresh(older[-1].session_id)  # it may have become whole just before it was sealed
        return next((claim for claim in reversed(older) if self._medium.is_whole(claim)), None)

    def _carry(self, last: Claimed | None, own: Claimed) -> None:
        based_on = None if last is None else self._carried(last, own)
        self._at("claim_carried")
        self._wait(self._committer.commit(Wanted(own, (), {"based_on": based_on})))
        self._medium.put_whole(own)
        self._at("claim_whole")
        self._wait(self._committer.commit(Wanted(own, ())))

    def _carried(self, last: Claimed, own: Claimed) -> dict[str, object]:
        """Append what an older epoch has; returns up to where that was."""
        for _ in range(TRIES - 1):
            try:
                return self._carried_once(last, own)
            except FileNotFoundError:  # its process lives, and has cleaned its log meanwhile
                continue
        return self._carried_once(last, own)

    def _carried_once(self, last: Claimed, own: Claimed) -> dict[str, object]:
        frames = self._scans.of(last.log).frames.get((last.session_id, last.epoch), Frames())
        if frames.whole is None:
            raise StoreDamaged(
                f"The shared store is damaged: the log of epoch {last.epoch} of {last.session_id} has lost its begin."
            )
        pending, size, end = list[Placed](), 0, (0, 0)
        for spot in frames.in_order():
            with self._medium.reading(last.log, spot.segment) as read:
                body = sound(spot, read(spot.offset, spot.size))
            pending.append(Placed(Frame(spot.kind, spot.key, body), spot.order))
            size += cost(pending[-1].frame)
            end = max(end, (spot.segment, spot.offset + spot.size))
            if size > PIECE_BYTES:
                self._wait(self._committer.commit(Wanted(own, tuple(pending))))
                pending, size = [], 0
        if pending:
            self._wait(self._committer.commit(Wanted(own, tuple(pending))))
        return {"epoch": last.epoch, "log": last.log, "segment": end[0], "byte": end[1]}

    def _wait(self, done: Future[None]) -> None:
        done.result(self._within_s)
