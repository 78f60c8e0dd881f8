"""A shared store in an object store, by way of fsspec.

Is: objects that are made once and never changed; what one machine alone may do is a put that fails where there is an
object already (`If-None-Match: *`, or what the service has for that). Is not: for an object store without such a put,
nor for local files, which `folder.py` has. Above: `cluster/shared/opening.py`. Below: `medium.py`,
`object_requests.py`, fsspec.

A group of a log is an object of its own. What a list or a read shows has to be what was put before (S3, Google's and
Azure's services promise that).
"""

from __future__ import annotations

import errno
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from rlm_kernel_mcp.cluster.shared.places.medium import (
    Claimed,
    SegmentReader,
    claimed_of,
    is_log_name,
    is_session_name,
)
from rlm_kernel_mcp.cluster.shared.places.object_requests import BEGINNING_BYTES, ObjectRequests
from rlm_kernel_mcp.errors import InvalidInput, StoreUnavailable

CREATES: Final = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "memory": "fsspec",
    "s3": "s3fs",
    "s3a": "s3fs",
}
"""Protocols whose package has a put that fails where there is an object, and that package. `memory`: for tests."""
FORMAT: Final = b"rlm shared store 1\n"
PIECE_BYTES: Final = 1 << 20
_CLAIM: Final = re.compile(r"claim-(\d{10})")
_SEGMENT: Final = re.compile(r"segment-(\d{10})")
_USES: Final = re.compile(r"uses-([0-9a-f]{64})")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Objects(ObjectRequests):
    """`files`: a file system of fsspec that caches no lists. `faults`: as of `Folder`."""

    segment_bytes = 1
    """Nothing is appended to an object."""
    segments_max = 200
    """Each of them is a request of whoever takes over."""

    def __init__(self, files: Any, root: str, faults: Callable[[str], None]) -> None:
        super().__init__(files, root)
        self._at = faults

    def prepare(self) -> None:
        """Raises: StoreUnavailable: a put that has to fail does not."""
        if not self.create("FORMAT", FORMAT) and self.asked(self.files.cat_file, self.path("FORMAT")) != FORMAT:
            raise OSError(errno.EMEDIUMTYPE, "what lies there is not a store of this version")
        probe = f"probes/{secrets.token_hex(16)}"
        made = [self.create(probe, b"1"), self.create(probe, b"2")]
        self.remove(probe)
        if made != [True, False]:
            raise StoreUnavailable(
                "The object store made one object twice: it has no put that fails where there is one (If-None-Match), "
                "and two nodes could drive one session.",
                "Use a bucket of a service that has conditional puts, or a folder on a shared file system.",
            )

    def put_claim(self, claim: Claimed) -> bool:
        return self.create(self._claim(claim), claim.text())

    def claims(self, session_id: str) -> list[Claimed]:
        found = []
        for match in filter(None, map(_CLAIM.fullmatch, sorted(self.names(f"sessions/{session_id}")))):
            path = f"sessions/{session_id}/{match[0]}"
            with suppress(FileNotFoundError):
                found.append(claimed_of(self.asked(self.files.cat_file, self.path(path)), session_id, int(match[1])))
        return found

    def refresh(self, session_id: str) -> None:
        """A list is never older than what it is asked after."""

    def seal(self, claim: Claimed) -> None:
        """A newer claim is the seal."""

    def is_own(self, claim: Claimed) -> bool:
        names = self.names(f"sessions/{claim.session_id}")
        epochs = [int(match[1]) for match in map(_CLAIM.fullmatch, names) if match]
        return max(epochs, default=0) == claim.epoch

    def put_whole(self, claim: Claimed) -> None:
        self.create(self._claim(claim, "whole"), b"-")

    def is_whole(self, claim: Claimed) -> bool:
        return self.exists(self._claim(claim, "whole"))

    def drop_claim(self, claim: Claimed) -> None:
        self.remove(self._claim(claim, "whole"))  # first: it is nothing without its claim
        self.remove(self._claim(claim))

    def sessions(self) -> list[str]:
        return sorted(filter(is_session_name, self.names("sessions")))

    def drop_session(self, session_id: str) -> None:
        for name in self.names(f"sessions/{session_id}"):
            if not _CLAIM.fullmatch(name):
                self.remove(f"sessions/{session_id}/{name}")

    def make_log(self, log: str) -> None:
        self.create(f"logs/{log}/owner", b"log\n")

    def logs(self) -> list[str]:
        return sorted(filter(is_log_name, self.names("logs")))

    def is_log_sealed(self, log: str) -> bool:
        return not self.exists(f"logs/{log}/owner")

    def seal_log(self, log: str) -> None:
        self.remove(f"logs/{log}/owner")

    def drop_log(self, log: str) -> None:
        for name in sorted(self.names(f"logs/{log}"), reverse=True):
            self.remove(f"logs/{log}/{name}")

    def append(self, log: str, segment: int, offset: int, parts: Sequence[bytes]) -> int:
        if offset:
            raise ValueError("nothing is appended to an object")
        path, group = self._segment(log, segment), b"".join(parts)
        self._at("written")
        # Its name is this process's alone: what is there already was put by a request whose answer was lost.
        if not self.create(path, group) and self.asked(self.files.cat_file, self.path(path)) != group:
            raise OSError(errno.EEXIST, "a group of the log is another one")
        self._at("synced")
        return len(group)

    def abandon(self, log: str, segment: int, size: int) -> None:
        if not size:
            with suppress(OSError):
                self.remove(self._segment(log, segment))

    def segments(self, log: str) -> dict[int, int]:
        found = {}
        for name, size in self.listed(f"logs/{log}"):
            if match := _SEGMENT.fullmatch(name):
                found[int(match[1])] = size
        if not found and not self.exists(f"logs/{log}/owner"):
            raise FileNotFoundError(errno.ENOENT, "a log is gone")
        return dict(sorted(found.items()))

    @contextmanager
    def reading(self, log: str, segment: int) -> Iterator[SegmentReader]:
        path = self.path(self._segment(log, segment))

        def read(offset: int, size: int) -> bytes:
            begin = self.beginning(path)
            end = offset + size
            if end <= len(begin) or len(begin) < BEGINNING_BYTES:
                return begin[offset:end]
            return bytes(self.asked(self.files.cat_file, path, start=offset, end=end))

        yield read

    def drop_segment(self, log: str, segment: int) -> None:
        self.beginnings.pop(self.path(self._segment(log, segment)), None)
        self.remove(self._segment(log, segment))

    def use_blob(self, session_id: str, sha256: str) -> None:
        self.create(f"sessions/{session_id}/uses-{sha256}", b"-")

    def used_blobs(self, session_id: str) -> list[str]:
        return [match[1] for match in map(_USES.fullmatch, self.names(f"sessions/{session_id}")) if match]

    def has_blob(self, sha256: str) -> bool:
        return self.exists(self._blob(sha256))

    def put_blob(self, sha256: str, chunks: Iterable[bytes]) -> None:
        """Under another name until all of it is there; the copy is made by the service."""
        new, hashed = f"new/{secrets.token_hex(16)}", hashlib.sha256()
        try:
            with self.asked(self.files.open, self.path(new), "wb") as file:
                for chunk in chunks:
                    hashed.update(chunk)
                    self.asked(file.write, chunk)
            if hashed.hexdigest() != sha256:
                raise ValueError("the bytes of a blob have another hash than it was said to have")
            self.asked(self.files.cp_file, self.path(new), self.path(self._blob(sha256)))
        finally:
            self.remove(new)

    def blob(self, sha256: str) -> Iterator[bytes]:
        path, at = self.path(self._blob(sha256)), 0
        size = self.asked(self.files.size, path)
        while at < size:
            piece = bytes(self.asked(self.files.cat_file, path, start=at, end=min(size, at + PIECE_BYTES)))
            if not piece:
                return
            yield piece
            at += len(piece)

    def blobs(self) -> list[str]:
        return sorted(filter(_SHA256.fullmatch, self.names("blobs")))

    def drop_blob(self, sha256: str) -> None:
        self.remove(self._blob(sha256))
        self.spare_blob(sha256)

    def note_blob(self, sha256: str, log: str) -> None:
        self.spare_blob(sha256)
        self.create(f"idle/{sha256}", log.encode())

    def noted_blob(self, sha256: str) -> str | None:
        try:
            return bytes(self.asked(self.files.cat_file, self.path(f"idle/{sha256}"))).decode("ascii", "replace")
        except FileNotFoundError:
            return None

    def spare_blob(self, sha256: str) -> None:
        self.remove(f"idle/{sha256}")

    def free_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self.beginnings.clear()

    def _claim(self, claim: Claimed, kind: str = "claim") -> str:
        return f"sessions/{claim.session_id}/{kind}-{claim.epoch:010d}"

    def _segment(self, log: str, segment: int) -> str:
        return f"logs/{log}/segment-{segment:010d}"

    def _blob(self, sha256: str) -> str:
        return f"blobs/{sha256}"


def objects_at(url: str, faults: Callable[[str], None]) -> Objects:
    """An object store by its URL. It takes credentials where fsspec's package for it does.

    Raises:
        InvalidInput: fsspec, or its package, is not installed, or cannot put so that two nodes are told apart.
    """
    protocol = url.partition("://")[0]
    if protocol not in CREATES:
        raise InvalidInput(
            f"A shared store cannot be at {protocol}://: a put there does not fail where there is an object "
            "already, so that two nodes could drive one session.",
            f"Give a folder's absolute path, or one of {', '.join(f'{one}://' for one in sorted(CREATES))}.",
        )
    try:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        raise InvalidInput(
            f"A shared store at {protocol}:// needs the Python package {CREATES[protocol]}, which is not installed.",
            f"Install {CREATES[protocol]} where the nodes and routers run, or give a folder's absolute path.",
        ) from error
    return Objects(files, str(root), faults)
