"""What nobody needs any more: logs of processes that are gone, blobs that no session uses, sessions that a judge names.

Is: when it is safe to remove one, although any process may be about to need it. Is not: the cleaning of a live log
(`log.py`). It blocks, and nobody waits for it. Above: `store.py`. Below: `places/medium.py`.

A log that no claim names is sealed first, and then looked for again: a process that has just claimed with it sees the
seal before it acknowledges anything. No clock says how old a blob is: one sweep notes those that no session uses, and
the next one of the same process removes those that are still so; whoever puts one takes the note away. A session is
claimed before it is removed, by a claim that takes nothing over: what was acknowledged by then is what the judge sees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Final

from rlm_kernel_mcp.cluster.shared.groups import sound
from rlm_kernel_mcp.cluster.shared.places.medium import Claimed, Medium
from rlm_kernel_mcp.cluster.shared.protocol import Claim, Judge, Swept
from rlm_kernel_mcp.cluster.shared.scanning import Scans
from rlm_kernel_mcp.errors import StoreDamaged

LOOKED_MAX: Final = 1_000
"""Sessions that are looked at in one go."""
GONE_MAX: Final = 200
"""And removed."""
NO_LOG: Final = "0" * 32
"""Of a claim that takes nothing over: no process's, so that nobody takes it for its own."""


def swept(medium: Medium, own_log: str | None) -> Swept:
    """Remove what can go. Raises: OSError."""
    named = _named(medium)
    unnamed = [log for log in medium.logs() if log != own_log and log not in named]
    for log in unnamed:
        medium.seal_log(log)
    if unnamed:
        for session_id in medium.sessions():
            medium.refresh(session_id)
        named = _named(medium)
    gone = [log for log in unnamed if log not in named]
    for log in gone:
        medium.drop_log(log)
    return Swept(len(gone), 0 if own_log is None else _swept_blobs(medium, own_log))


def _named(medium: Medium) -> set[str]:
    return {claim.log for session_id in medium.sessions() for claim in medium.claims(session_id)}


def _swept_blobs(medium: Medium, own_log: str) -> int:
    logs = {*medium.logs()}
    used = {blob for session_id in medium.sessions() for blob in medium.used_blobs(session_id)}
    removed = 0
    for blob in medium.blobs():
        noted = medium.noted_blob(blob)
        if blob in used:
            if noted is not None:
                medium.spare_blob(blob)
        elif noted == own_log:
            medium.drop_blob(blob)
            removed += 1
        elif noted not in logs:  # by nobody, or by a process that will not come back to it
            medium.note_blob(blob, own_log)
    return removed


def public(claim: Claimed) -> Claim:
    """As others see it."""
    return Claim(claim.session_id, claim.epoch, claim.node)


class Forgetting:
    """Sessions that nobody needs, removed by a node."""

    def __init__(self, medium: Medium, scans: Scans, node: str, judge: Judge) -> None:
        self._medium, self._scans, self._node, self._judge = medium, scans, node, judge

    def forgotten(self) -> list[str]:
        """Those that were removed. Raises: OSError."""
        wanted = defaultdict[str, list[list[Claimed]]](list)  # by their logs, each of which is read through once
        for session_id in self._medium.sessions():
            with suppress(StoreDamaged):
                claims = self._medium.claims(session_id)
                if claims and self._judge.may_go(public(claims[-1])):
                    wanted[claims[-1].log].append(claims)
        looked = islice(chain.from_iterable(wanted.values()), LOOKED_MAX)
        judged = (claims for claims in looked if self._goes(claims, claims[-1]))
        removed = (claims[-1].session_id for claims in judged if self._is_removed(claims[-1]))
        return list(islice(removed, GONE_MAX))

    def _goes(self, claims: Sequence[Claimed], last: Claimed) -> bool:
        """What the judge says by what can be read. Of one that is damaged whoever uses it is told: it stays."""
        try:
            read = (self._body(claim) for claim in reversed(claims) if claim.log != NO_LOG)
            body = next(filter(None, read), None)
            return body is not None and self._judge.goes(public(last), body)
        except (FileNotFoundError, StoreDamaged):
            return False

    def _body(self, claim: Claimed) -> bytes | None:
        frames = self._scans.of(claim.log).frames.get((claim.session_id, claim.epoch))
        spot = None if frames is None else frames.spots.get(self._judge.key)
        if spot is None:
            return None
        with self._medium.reading(claim.log, spot.segment) as read:
            return sound(spot, read(spot.offset, spot.size))

    def _is_removed(self, last: Claimed) -> bool:
        """Remove a session, unless somebody uses it."""
        own = Claimed(last.session_id, last.epoch + 1, self._node, NO_LOG)
        if not self._medium.put_claim(own):
            return False
        claims = self._newest_of(own)
        for claim in claims[:-1]:
            self._medium.seal(claim)
        if not claims or not self._goes(claims, last) or not self._newest_of(own):
            self._medium.drop_claim(own)  # it took nothing over, and the one before it counts
            return False
        for claim in claims:
            self._medium.seal(claim)
            self._medium.drop_claim(claim)
        if not self._medium.claims(last.session_id):
            self._medium.drop_session(last.session_id)
        return True

    def _newest_of(self, own: Claimed) -> list[Claimed]:
        """All claims of the session; none where somebody has a newer one."""
        self._medium.refresh(own.session_id)
        claims = self._medium.claims(own.session_id)
        return claims if claims[-1:] == [own] else []
