"""Which machines of a cluster are to have sessions, and what they are called.

Is: the rows that Ray lists of its machines, to those that are meant, and to names. Is not: Ray.
Above: `ray_actors.py`. Below: the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

OURS: Final = "rlm"
"""Resource of Ray's by which a user says on which machines there are to be sessions; where no machine has it: on all
but the head, or on that where it is the only one."""
NAMED: Final = "rlm-node"
"""Label of Ray's by which a machine is called; without it, its host name and the begin of Ray's own number."""
HEAD: Final = "node:__internal_head__"


def of_sessions(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The machines that are to have sessions, of those that Ray lists."""
    alive = [row for row in rows if row["Alive"]]
    marked = [row for row in alive if row["Resources"].get(OURS)]
    return marked or [row for row in alive if HEAD not in row["Resources"]] or alive


def name_of(row: Mapping[str, Any]) -> str:
    """What a machine is called, in letters that a node's name may have."""
    label = str((row.get("Labels") or {}).get(NAMED, ""))
    own = label or f"{row.get('NodeManagerHostname', 'node')}-{row['NodeID'][:8]}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", own)[-63:].lstrip("-._") or "node"
