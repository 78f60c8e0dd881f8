"""What nobody needs any more: logs of processes that are gone, and blobs that no session uses.

Is: when it is safe to remove one, although any process may be about to need it. Is not: the cleaning of a live log
(`log.py`). It blocks, and nobody waits for it. Above: `store.py`. Below: `places/medium.py`.

A log that no claim names is sealed first, and then looked for again: a process that has just claimed with it sees the
seal before it acknowledges anything. No clock says how old a blob is: one sweep notes those that no session uses, and
the next one of the same process removes those that are still so; whoever puts one takes the note away.
"""

from __future__ import annotations

from rlm_kernel_mcp.cluster.shared.places.medium import Medium
from rlm_kernel_mcp.cluster.shared.protocol import Swept


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
