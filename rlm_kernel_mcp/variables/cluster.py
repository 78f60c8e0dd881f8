"""How a node of a cluster is set up: its name, where the shared store is, and what of a step waits for that.

Is: variables and options of a node alone, a row each, checked. Is not: what any host reads (`table.py`): where no
cluster is asked for nobody looks at these. Above: `cluster/`, `settings.py` for their names. Below: `table.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.variables.table import Setting, known_of, whole

NODE: Final = "RLM_CLUSTER_NODE"
STORE: Final = "RLM_CLUSTER_STORE"
DURABILITY: Final = "RLM_CLUSTER_DURABILITY"
DURABLE_MS: Final = "RLM_CLUSTER_DURABLE_MS"
DURABLE_MB: Final = "RLM_CLUSTER_DURABLE_MB"
MEMORY_MB: Final = "RLM_CLUSTER_MEMORY_MB"

CLUSTER_TABLE: Final = (
    Setting(NODE, "name of this node, as others see it", "the machine's host name"),
    Setting(
        STORE, "the shared store: an absolute path of a shared folder, or an address such as s3://bucket/way", "none"
    ),
    Setting(
        DURABILITY,
        "whether a step's answer waits until the shared store has its values and its record",
        "ack",
        ("ack", "lag"),
    ),
    Setting(DURABLE_MS, "milliseconds for which a step's answer waits for that", "2000"),
    Setting(DURABLE_MB, "MB of values of a step for which its answer waits", "64"),
    Setting(
        MEMORY_MB,
        "memory of this node in MB, where the machine has others too; each kernel counts with a session's limit",
        "what Ray has for it, or the machine's",
    ),
)
OF_CLUSTERS: Final = frozenset(row.variable for row in CLUSTER_TABLE)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}://[^\s]{1,900}")
_PATH_CHARS_MAX: Final = 900


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Checked settings of a node."""

    node: str
    store: str
    """An absolute path, or an address of fsspec's. An address may hold a key: it is shown to nobody."""
    durability: str = "ack"
    durable_ms: int = 2_000
    durable_mb: int = 64
    memory_mb: int = 0
    """Of the machine's memory what this node may give to sessions; 0: whatever is free."""

    @property
    def waits(self) -> bool:
        """Whether an answer waits for the shared store."""
        return self.durability == "ack"


def load_cluster_settings(environ: Mapping[str, str], options: Mapping[str, str] | None = None) -> ClusterSettings:
    """A node's settings. `options`: by the variables' names, above those of the environment.

    Raises:
        InvalidInput: one is wrong, or there is no shared store.
    """
    values = {name: environ[name] for name in OF_CLUSTERS if environ.get(name)} | dict(options or {})
    if unknown := sorted(values.keys() - OF_CLUSTERS):
        raise InvalidInput(f"A cluster has no setting {', '.join(unknown)}; it has: {', '.join(sorted(OF_CLUSTERS))}.")
    values = known_of(CLUSTER_TABLE, values)
    return ClusterSettings(
        node=_name(values.get(NODE) or _host_name()),
        store=_store(values.get(STORE, "")),
        durability=values.get(DURABILITY, "ack"),
        durable_ms=whole(values, DURABLE_MS, 2_000, 1, 600_000, "milliseconds"),
        durable_mb=whole(values, DURABLE_MB, 64, 1, 65_536, "MB"),
        memory_mb=whole(values, MEMORY_MB, 0, 0, 1 << 30, "MB"),
    )


def _host_name() -> str:
    """What the machine calls itself, as far as a node may be called so."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename).strip("-._")[:63] or "node"


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{NODE}={text!r} is not the name of a node: letters, digits, dots, dashes and underscores, 63 at most, of "
            "which the first is a letter or a digit.",
            "Correct the setting.",
        )
    return text


def _store(text: str) -> str:
    if not text:
        raise InvalidInput(
            f"A cluster keeps its sessions in a store that all its nodes reach, and {STORE} is not set.",
            "Set it to the absolute path of a shared folder, or to an address such as s3://bucket/way.",
        )
    if "://" in text:
        if not _ADDRESS.fullmatch(text):  # not shown: it may hold a key
            raise InvalidInput(f"{STORE} is not an address such as s3://bucket/way.", "Correct the setting.")
        return text
    if not text.startswith("/") or len(text) > _PATH_CHARS_MAX or "\0" in text:
        raise InvalidInput(
            f"{STORE}={text[:80]!r} is neither an absolute path nor an address such as s3://bucket/way: nodes may have "
            "other working directories.",
            "Give the whole path.",
        )
    return text
