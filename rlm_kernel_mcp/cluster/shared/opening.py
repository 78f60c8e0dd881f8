"""A shared store by where it is.

Is: the choice between a folder and an object store. Is not: either. Above: the nodes and routers of a cluster. Below:
`store.py`, `places/folder.py`, `places/objects.py`.
"""

from __future__ import annotations

from pathlib import Path

from rlm_kernel_mcp.cluster.shared.places.folder import Folder
from rlm_kernel_mcp.cluster.shared.protocol import FaultPoints, SharedStore, no_faults
from rlm_kernel_mcp.cluster.shared.store import WITHIN_S, Store
from rlm_kernel_mcp.errors import InvalidInput


def open_store(where: str, *, faults: FaultPoints = no_faults, within_s: float = WITHIN_S) -> SharedStore:
    """A store that nothing has been asked of yet. `where`: the absolute path of a folder, or an address of fsspec's.

    Raises:
        InvalidInput: it is neither, or nothing here can use it.
    """
    if "://" in where:
        from rlm_kernel_mcp.cluster.shared.places.objects import objects_at

        return Store(objects_at(where, faults), faults, within_s)
    if not Path(where).is_absolute():
        raise InvalidInput(
            f"The shared store is the absolute path of a folder or an address (s3://...), and not {where!r}.",
            "Give one of them as the shared store.",
        )
    return Store(Folder(Path(where), faults), faults, within_s)
