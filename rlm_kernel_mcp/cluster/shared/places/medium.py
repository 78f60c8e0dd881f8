"""What a shared store asks of the place where its bytes lie: a folder, or an object store.

Is: a contract of small operations that block, and what they name. Is not: when one is done (`cluster/shared/log.py`,
`cluster/shared/claiming.py`). Above: `cluster/shared/store.py`. Below: `errors.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

from rlm_kernel_mcp.errors import StoreDamaged

_SESSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_LOG: Final = re.compile(r"[0-9a-f]{32}")
EPOCH_MAX: Final = 9_999_999_999
NODE_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim as it lies in the store: `log` is where its epoch's frames are."""

    session_id: str
    epoch: int
    node: str
    log: str

    def text(self) -> bytes:
        return _text_of(self)


@lru_cache(4_096)  # a claim's is asked for at each look
def _text_of(claim: Claimed) -> bytes:
    said = {"session": claim.session_id, "epoch": claim.epoch, "node": claim.node, "log": claim.log}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def claimed_of(text: bytes, session_id: str, epoch: int) -> Claimed:
    """Raises: StoreDamaged: it is no claim of that session's epoch."""
    try:
        said = json.loads(text.split(b"\n", 1)[0])
        claimed = Claimed(said["session"], said["epoch"], said["node"], said["log"])
        if (claimed.session_id, claimed.epoch) == (session_id, epoch) and _LOG.fullmatch(claimed.log):
            return claimed
    except (ValueError, TypeError, KeyError):
        pass
    raise StoreDamaged(f"The shared store is damaged: what is the claim of epoch {epoch} of {session_id} is none.")


def session_name(session_id: str) -> str:
    """The same, as a name of a directory. Raises: ValueError."""
    if not _SESSION.fullmatch(session_id):
        raise ValueError("a session's id is 1 to 64 letters, digits, _ and -, and begins with a letter or digit")
    return session_id


def is_session_name(name: str) -> bool:
    return _SESSION.fullmatch(name) is not None


def is_log_name(name: str) -> bool:
    return _LOG.fullmatch(name) is not None


def blob_name(sha256: str) -> str:
    """The same. Raises: ValueError."""
    if not _SHA256.fullmatch(sha256):
        raise ValueError("a sha256 is 64 digits and letters a to f")
    return sha256


def epoch_checked(epoch: int) -> int:
    """The same. Raises: ValueError."""
    if not 1 <= epoch <= EPOCH_MAX:
        raise ValueError(f"an epoch is a number of 1 to {EPOCH_MAX:,}, and not {epoch:,}")
    return epoch


class Medium(Protocol):
    """Every method blocks, and raises OSError where the place does not do it. Names are checked before."""

    segment_bytes: int
    """Of how many bytes on a segment is not appended to."""
    segments_max: int
    """Of how many on a log is cleaned, whatever is dead in it."""

    def prepare(self) -> None:
        """Make what must be there before anything is written."""
        ...

    def put_claim(self, claim: Claimed) -> bool:
        """Make it durably, if there is none of that epoch; whether it was made."""
        ...

    def claims(self, session_id: str) -> list[Claimed]:
        """All that there are, by their epochs; fresh, where this process has just put one, or after `refresh`."""
        ...

    def refresh(self, session_id: str) -> None:
        """See to it that `claims` shows what other machines have put."""
        ...

    def seal(self, claim: Claimed) -> None:
        """From here on `is_own` is false for it, on every machine."""
        ...

    def is_own(self, claim: Claimed) -> bool:
        """Whether it is there and nobody has sealed it, asked of the store and of no cache."""
        ...

    def put_whole(self, claim: Claimed) -> None:
        """Note durably that its log has all of the older ones."""
        ...

    def is_whole(self, claim: Claimed) -> bool: ...

    def drop_claim(self, claim: Claimed) -> None: ...

    def sessions(self) -> list[str]:
        """Names of all that may have claims."""
        ...

    def drop_session(self, session_id: str) -> None:
        """All that is left of it but its claims; none of them is there any more."""
        ...

    def make_log(self, log: str) -> None: ...

    def logs(self) -> list[str]: ...

    def is_log_sealed(self, log: str) -> bool: ...

    def seal_log(self, log: str) -> None: ...

    def drop_log(self, log: str) -> None: ...

    def append(self, log: str, segment: int, offset: int, parts: Sequence[bytes]) -> int:
        """Write from `offset` on, durably; 0 makes the segment. How many bytes it has then."""
        ...

    def abandon(self, log: str, segment: int, size: int) -> None:
        """Nothing is appended to it any more; what lies behind `size` may go. It fails silently."""
        ...

    def segments(self, log: str) -> dict[int, int]:
        """Number and bytes of each, by their numbers."""
        ...

    def reading(self, log: str, segment: int) -> AbstractContextManager[SegmentReader]: ...

    def drop_segment(self, log: str, segment: int) -> None: ...

    def use_blob(self, session_id: str, sha256: str) -> None:
        """Note durably that a session uses a blob."""
        ...

    def used_blobs(self, session_id: str) -> list[str]: ...

    def has_blob(self, sha256: str) -> bool: ...

    def put_blob(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Durably. Raises: ValueError: their hash is another; nothing is put."""
        ...

    def blob(self, sha256: str) -> Iterator[bytes]:
        """Raises: FileNotFoundError."""
        ...

    def blobs(self) -> list[str]: ...

    def drop_blob(self, sha256: str) -> None: ...

    def note_blob(self, sha256: str, log: str) -> None:
        """Note that whoever has a log has seen that no session uses it; in place of an earlier note."""
        ...

    def noted_blob(self, sha256: str) -> str | None:
        """The log of whoever has seen that."""
        ...

    def spare_blob(self, sha256: str) -> None:
        """Take that note away."""
        ...

    def free_bytes(self) -> int | None: ...

    def close(self) -> None: ...


class SegmentReader(Protocol):
    def __call__(self, offset: int, size: int, /) -> bytes:
        """Those bytes; fewer at the end."""
        ...
