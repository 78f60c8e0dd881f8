"""What is said of a shared store that does not do what it is asked.

Is: `OSError` to `StoreUnavailable`, with the number, the unit and what to do. Is not: a judgement of the bytes. Above:
`store.py`, `committing.py`. Below: `errors.py`.
"""

from __future__ import annotations

import errno
from typing import Final

from rlm_kernel_mcp.errors import StoreUnavailable
from rlm_kernel_mcp.units import MB

_NOTHING: Final = "nothing of it is acknowledged, and nothing that was is lost"
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED: Final = {errno.EROFS, errno.EACCES, errno.EPERM}
_GONE: Final = {errno.ENOENT, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.EHOSTDOWN, errno.ENOTDIR}


def unavailable(error: OSError, doing: str, free_bytes: int | None) -> StoreUnavailable:
    """What became of something that was `doing`: "the append of 3 frames (12 KB)"."""
    number = error.errno or 0
    free = "an unknown number of" if free_bytes is None else f"{free_bytes // MB:,}"
    if number in _FULL:
        why = f"is full: {free} MB are free there, or its quota is used up"
        to_do = "Make room in the shared store or have sessions removed that nobody needs, then call again."
    elif number in _CLOSED:
        why = f"may not be written or read by this user ({error.strerror or 'refused'}, errno {number})"
        to_do = "Have the shared store mounted for writing and its files given to the cluster's user, then call again."
    elif number in _GONE:
        why = f"is not there any more ({error.strerror or 'gone'}, errno {number})"
        to_do = "Have the shared store mounted again, then call again: what was acknowledged is in it."
    else:
        why = f"failed ({error.strerror or type(error).__name__}, errno {number})"
        to_do = "Look at the shared store's disk or service, then call again."
    return StoreUnavailable(f"The shared store {why}, in {doing}; {_NOTHING}.", to_do)


def too_slow(doing: str, within_s: float) -> StoreUnavailable:
    return StoreUnavailable(
        f"The shared store did not answer within {within_s:g} s, in {doing}; {_NOTHING}.",
        "Look at the shared store's disk, network or service, then call again.",
    )


def too_much_waits(doing: str, waiting_bytes: int, most_bytes: int) -> StoreUnavailable:
    return StoreUnavailable(
        f"The shared store is slow: {waiting_bytes // MB:,} MB wait to be written, and {most_bytes // MB:,} MB may, "
        f"in {doing}; {_NOTHING}.",
        "Call again later, or give the cluster a quicker shared store.",
    )
