"""`bin/soak NAME [options]`: runs one of the long, seeded runs by its name.

Is: the list of the names. Is not: a soak: each is a module with `main(argv) -> int` and a `--help` of its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ELSEWHERE: Final = {
    "cluster": "tests.soaks.hosts.cluster_nodes",
    "connections": "tests.unit.server.transport.in_quantity",
    "edges": "tests.front.lifetimes.edges",
    "evidence": "tests.unit.session.evidence.in_quantity",
    "faults": "tests.faults.soak",
    "hostile": "tests.soaks.hostile.sources",
    "host_clients": "tests.soaks.hosts.clients",
    "host_kills": "tests.soaks.hosts.kills",
    "host_watchers": "tests.soaks.hosts.watchers",
    "leases": "tests.soaks.hosts.leases",
    "nodes": "tests.cluster.node.soak",
    "questions": "tests.endpoints.soak",
    "sources": "tests.unit.context.real_directories",
}


def modules() -> dict[str, str]:
    """Every soak by name, and its module."""
    here = {path.stem: f"tests.soaks.{path.stem}" for path in Path(__file__).parent.glob("*.py")}
    return {name: module for name, module in sorted((here | ELSEWHERE).items()) if not name.startswith("_")}


def main(argv: Sequence[str]) -> int:
    """Run the soak that is named first, with the rest of the arguments."""
    known = modules()
    if not argv or argv[0] not in known:
        print(f"usage: bin/soak NAME [options]; the names are: {', '.join(known)}", file=sys.stderr)
        return 2
    soak = importlib.import_module(known[argv[0]])
    return int(soak.main(argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
