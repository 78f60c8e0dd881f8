"""What of a session others do not have yet: its values and its rows, as bytes by keys, in the order that they need.

Is: what is new since they were given something, within bounds of time and size, and the names whose newest value they
still lack. Is not: where it goes, or when (`durable.py` says when it has to be there). Above: `cluster/node/`. Below:
`durable.py`, `session/snapshots/carried.py`, `store/carrying/`.

All of one `Added` goes into the store at once or not at all. Its rows were read before its values: so no value is older
than what the rows say of it, whatever has been run meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from rlm_kernel_mcp.errors import SessionBusy
from rlm_kernel_mcp.session.carrying.durable import Progress
from rlm_kernel_mcp.session.snapshots.carried import ChangedValues, Frame, Look, SentValues, changed
from rlm_kernel_mcp.store.carrying.following import AGAIN, ChangedRows, Mark
from rlm_kernel_mcp.store.store import Store

NAMES_MAX: Final = 2_000
"""Of the names that others lack: a kernel keeps no more."""
DISK_S: Final = 10.0
"""How long this node's own disk is waited for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """What others have of a session."""

    values: SentValues = field(default_factory=SentValues)
    mark: Mark = field(default_factory=Mark)


@dataclass(frozen=True, slots=True)
class Added:
    """What others are to have at once: the values, then the rows. A body None: the key is gone."""

    frames: tuple[Frame, ...]
    sent: Sent
    """For the next time, once they have it."""
    lacking: tuple[str, ...]
    """Names whose newest value they do not have even then."""
    is_all: bool
    """Whether they have all rows then; else the next call has more of them, and of values nothing but what is new."""


async def added(store: Store, progress: Progress, sent: Sent, *, within_s: float, bytes_max: int) -> Added:
    """What others lack of a session. One call for a session at a time.

    `within_s`: how long the snapshot of its last step is waited for; where it takes longer, no value goes. `bytes_max`:
    of values; what is beyond stays behind, the largest ones.

    Raises: SessionBusy: the record cannot be read, or not in time.
    """
    rows = store.following.changed_at_once(progress.session_id, sent.mark)
    if rows is None:
        rows = await _rows(store, progress.session_id, sent.mark)
    look = await _look(progress, within_s)
    values = None
    if look is not None and look.is_small(sent.values):
        values = _changed(look, sent.values, bytes_max)
    elif look is not None:
        with suppress(TimeoutError):  # the thread closes what it reads, whenever it ends
            async with asyncio.timeout(DISK_S):
                values = await asyncio.to_thread(_changed, look, sent.values, bytes_max)
    lacking = _lacking(progress, look, values)
    frames = () if values is None else values.frames
    now = Sent(sent.values if values is None else values.sent, rows.mark)
    return Added(frames + rows.frames, now, lacking, rows.is_all)


async def _rows(store: Store, session_id: str, mark: Mark) -> ChangedRows:
    try:
        async with asyncio.timeout(DISK_S):
            return await asyncio.to_thread(store.following.changed, session_id, mark)
    except TimeoutError:
        raise SessionBusy(
            f"The record of session {session_id} could not be read within {DISK_S:.0f} s: the disk of the session "
            "store does not answer.",
            AGAIN,
        ) from None


async def _look(progress: Progress, within_s: float) -> Look | None:
    try:
        return await progress.snapshots.look(within_s)
    except OSError as error:
        log.warning("the values of a session cannot be read for others: %s", error)
        return None


def _changed(look: Look, sent: SentValues, bytes_max: int) -> ChangedValues | None:
    try:
        return changed(look, sent, bytes_max)
    except OSError as error:
        log.warning("the values of a session cannot be read for others: %s", error)
        return None
    finally:
        look.close()


def _lacking(progress: Progress, look: Look | None, values: ChangedValues | None) -> tuple[str, ...]:
    """The names whose newest value others do not have: those left out, those not looked at in time, and the unkept."""
    if progress.snapshots.is_over:  # it has its final answer, and needs none
        return ()
    index = look.index if look is not None else progress.snapshots.index
    if values is None or index.step < progress.step:  # any of them may have been changed in place
        return tuple(dict.fromkeys((*index.entries, *progress.bound)))[:NAMES_MAX]
    unkept = [
        name
        for name, entry in index.entries.items()
        if name in values.lacking
        or (entry.why is None and entry.step < index.step)
        or (entry.why is not None and progress.bound.get(name, ("", 0))[1] == progress.step)
    ]
    return tuple(unkept)
