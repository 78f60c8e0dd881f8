"""What `rlm-kernel-mcp doctor` says of a node of a cluster, where its variables are set; of others nothing.

Is: lines for a person, from the settings and a look whether a folder is there. Is not: the nodes of a cluster, of which
`cluster status` tells. Above: `doctor.py`. Below: `variables/cluster.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.variables.cluster import OF_CLUSTERS, load_cluster_settings


def cluster_lines(environ: Mapping[str, str]) -> Iterator[str]:
    """How a node here would be set up."""
    if not any(environ.get(name) for name in OF_CLUSTERS):
        return
    try:
        settings = load_cluster_settings(environ)
    except InvalidInput as error:
        yield f"No node of a cluster can be here: {error.message}"
        yield f"  fix: {error.next_step}"
        return
    waits = f"an answer waits for the shared store, {settings.durable_ms:,} ms and {settings.durable_mb:,} MB of values"
    how = waits if settings.waits else "an answer does not wait for the shared store; the last step may be lost"
    yield f"As a node of a cluster this is {settings.node}; {how}."
    if "://" in settings.store:  # it may hold a key
        yield f"Its shared store is an object store ({settings.store.partition('://')[0]}), which is not asked here."
        return
    parent = Path(settings.store).parent
    if os.access(parent, os.W_OK | os.X_OK) or os.access(settings.store, os.W_OK | os.X_OK):
        yield f"Its shared store is the folder {settings.store}, which has to be the same one on each node."
    else:
        yield f"Its shared store cannot be the folder {settings.store}: {parent} is not there, or cannot be written."
        yield "  fix: mount the shared file system, or correct RLM_CLUSTER_STORE."
