"""What is known of a cluster's nodes just now, as rows for a person and as JSON for scripts.

Is: the load that each node says, and who drives which session by the shared store. Is not: the look at a terminal
(`showing/table.py`, `showing/terminal.py`). Above: `up.py`, `status.py`. Below: `cluster/`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rlm_kernel_mcp.cluster.joining import Joined
from rlm_kernel_mcp.cluster.node.messages import Load
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import Claim
from rlm_kernel_mcp.commands.showing.table import padded
from rlm_kernel_mcp.commands.showing.terminal import Plain, Style, is_terminal, printer
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.text.safe_text import safe_text

HEAD: Final = ("NODE", "STATE", "SESSIONS", "KERNELS", "MEMORY FREE", "WALLS", "EPOCHS")


@dataclass(frozen=True, slots=True)
class NodeLook:
    """One node."""

    name: str
    load: Load | None
    """None: it did not say."""
    problem: str
    epochs: tuple[int, ...]
    """Of the sessions of which the store says that they are here."""

    @property
    def state(self) -> str:
        """In a word."""
        if self.load is None:
            return "does not answer"
        return "takes no more" if self.load.draining else "open"

    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        epochs = "" if not self.epochs else f"{min(self.epochs)} to {max(self.epochs)}"
        if self.load is None:
            return self.name, self.state, str(len(self.epochs)), "", "", "", epochs
        load = self.load
        memory = f"{load.memory_free_mb:,} of {load.memory_mb:,} MB"
        return self.name, self.state, str(load.sessions), str(load.live_kernels), memory, load.tier, epochs

    def fields(self) -> dict[str, Any]:
        """The same for scripts."""
        load = None if self.load is None else asdict(self.load)
        return {"node": self.name, "state": self.state, "problem": self.problem, "load": load}


async def begun(joined: Joined) -> None:
    """Every node has begun, or has said why it does not."""
    nodes = await joined.nodes.present()
    await asyncio.gather(*(node.begun() for node in nodes.values()), return_exceptions=True)


async def looked_at(joined: Joined) -> tuple[list[NodeLook], list[Claim]]:
    """Every node, by name, and who drives which session. Raises: ClusterUnavailable, StoreUnavailable."""
    nodes = await joined.nodes.present()
    store = open_store(joined.store)
    try:
        claims = await store.sessions()
    finally:
        await shielded(store.close(), "the look at a shared store")
    loads = await asyncio.gather(*(_load_of(node) for node in nodes.values()))
    looks = [
        NodeLook(name, load, problem, epochs_of(claims, name))
        for name, (load, problem) in zip(nodes, loads, strict=True)
    ]
    return sorted(looks, key=lambda look: look.name), claims


async def _load_of(node: Any) -> tuple[Load | None, str]:
    try:
        return Load.of(await node.load()), ""
    except RlmError as error:
        return None, error.message


def epochs_of(claims: Collection[Claim], node: str) -> tuple[int, ...]:
    """In which epochs the sessions of a node are."""
    return tuple(claim.epoch for claim in claims if claim.node == node)


def table(looks: Sequence[NodeLook]) -> None:
    """Print them for a person."""
    lines = printer() if is_terminal(sys.stdout) else Plain(0)
    rows = padded([HEAD, *(tuple(map(safe_text, look.cells())) for look in looks)])
    styles: Mapping[str, Style] = {"open": "person", "takes no more": "asked", "does not answer": "bad"}
    lines.line(("  ".join(rows[0]), "head"))
    for row, look in zip(rows[1:], looks, strict=True):
        lines.line((f"{row[0]}  ", "plain"), (row[1], styles[look.state]), ("  " + "  ".join(row[2:]), "plain"))
        if look.problem:
            lines.line((f"  {safe_text(look.problem)}", "bad"))


def told(joined: Joined, looks: Sequence[NodeLook], claims: Sequence[Claim]) -> dict[str, Any]:
    """The same as one JSON object. The store's address is not in it: it may hold a key."""
    sessions = [{"session_id": claim.session_id, "epoch": claim.epoch, "node": claim.node} for claim in claims]
    return {"address": joined.place.address, "nodes": [look.fields() for look in looks], "sessions": sessions}
