"""The files of a manifest, written to a node's own disk from the shared store.

Is: that, once for each manifest and node, whole or not at all. Is not: what a manifest is
(`session/contexts/manifests.py`), or when it is wanted (`cluster/node/`). Above: nodes. Below: `cluster/shared/`,
`session/contexts/manifests.py`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rlm_kernel_mcp.both_sides.whole_writes import write_at
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.context.roots.path_errors import cause
from rlm_kernel_mcp.errors import ContextTooLarge, InvalidInput, StoreDamaged, StoreUnavailable
from rlm_kernel_mcp.session.contexts.manifests import NAME, Manifest, place_of
from rlm_kernel_mcp.shielded import made_in_thread, shielded

MANIFEST_BYTES_MAX: Final = 256 << 20
"""200,000 documents with long names have a fifth of that."""
HEX: Final = frozenset("0123456789abcdef")
REMOVE_S: Final = 30.0


async def placed(store: SharedStore, state_dir: Path, sha256: str) -> Sequence[str]:
    """See that the files of a manifest lie where its sources look for them.

    Returns:
        The hashes of all that they are made of, the manifest's too: what a session that has it uses of the store.

    Raises:
        InvalidInput: it is no hash. StoreDamaged, StoreUnavailable. ContextTooLarge: this machine has no room for them.
    """
    if len(sha256) != 64 or not HEX.issuperset(sha256):
        raise InvalidInput("manifest is no hash of a manifest.")
    place = place_of(state_dir, sha256)
    if (data := await asyncio.to_thread(_read, place / NAME)) is not None:
        return [sha256, *Manifest.of(data).blobs]
    manifest_data, manifest = await _manifest(store, sha256)
    making = place.with_name(f".{sha256}-{secrets.token_hex(8)}")
    try:
        await asyncio.to_thread(making.mkdir, 0o700, parents=True)
        await _write(store, manifest, making)
        await asyncio.to_thread(_end, making, manifest_data, place)
    except OSError as error:
        raise ContextTooLarge(
            f"The files of the context cannot be copied to the node that is to have them: {cause(error)}.",
            "Tell the user to free room below RLM_STATE_DIR of that node, or give a smaller context.",
        ) from error
    finally:
        await shielded(made_in_thread(lambda: _remove(making), lambda _: None), "the end of a copy", within_s=REMOVE_S)
    return [sha256, *manifest.blobs]


async def used(store: SharedStore, session_id: str, blobs: Sequence[str]) -> None:
    """Have the store keep what a session is made of. Raises: StoreUnavailable: also where a part is gone meanwhile."""
    for number, blob in enumerate(blobs, 1):
        try:
            await store.put_blob(session_id, blob, ())
        except ValueError:  # swept away between its copy to the store and this
            raise StoreUnavailable(
                f"Part {number:,} of {len(blobs):,} of the context ({blob[:12]}) is in the shared store no more.",
                "Call the tool again: the context is copied there anew.",
            ) from None


async def _manifest(store: SharedStore, sha256: str) -> tuple[bytes, Manifest]:
    data = bytearray()
    async for chunk in store.blob(sha256):
        data += chunk
        if len(data) > MANIFEST_BYTES_MAX:
            raise StoreDamaged(f"A manifest in the shared store has more than {MANIFEST_BYTES_MAX:,} bytes.")
    try:
        return bytes(data), Manifest.of(bytes(data))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise StoreDamaged(f"What the shared store has as the manifest {sha256[:12]} is none.") from error


async def _write(store: SharedStore, manifest: Manifest, making: Path) -> None:
    """Each blob is read once; a file that is a part of it takes its own bytes of each chunk."""
    parts: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for number, one in enumerate(manifest.files):
        parts[one.blob].append((one.offset, one.size, number))
    for blob, rows in parts.items():
        pieces = _Pieces([(offset, size, making / manifest.files[at].place(at)) for offset, size, at in rows])
        async for chunk in store.blob(blob):
            await asyncio.to_thread(pieces.take, chunk)
        await asyncio.to_thread(pieces.end, blob)


class _Pieces:
    """The files that a blob is made of, written as it comes."""

    def __init__(self, rows: list[tuple[int, int, Path]]) -> None:
        self._rows = sorted(rows, key=lambda row: row[:2])
        self._at = 0

    def take(self, chunk: bytes) -> None:
        """The next bytes of it. Raises: OSError."""
        begin, end = self._at, self._at + len(chunk)
        self._at = end
        while self._rows:
            offset, size, path = self._rows[0]
            first, last = max(begin, offset), min(end, offset + size)
            if first < last or not size:
                _append(path, chunk[first - begin : last - begin] if size else b"", max(0, first - offset))
            if offset + size > end:
                return
            self._rows.pop(0)

    def end(self, blob: str) -> None:
        """There are no more. Raises: StoreDamaged: some file is not whole; OSError."""
        self.take(b"")  # for files of no bytes
        if self._rows:
            raise StoreDamaged(f"The blob {blob[:12]} of the shared store is shorter than its manifest says.")


def _append(path: Path, data: bytes, at: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write_at(descriptor, data, at)
    finally:
        os.close(descriptor)


def _end(making: Path, manifest: bytes, place: Path) -> None:
    (making / NAME).write_bytes(manifest)
    try:
        making.rename(place)
    except OSError:
        if not (place / NAME).exists():  # else another call has been as fast, with the same bytes
            raise


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _remove(making: Path) -> None:
    shutil.rmtree(making, ignore_errors=True)
