"""The sessions of all nodes in one list.

Is: each node's rows, those of sessions that it has, put together by when they were used last, and a page of that. Is
not: what a node lists (`session/listing.py`). Above: `routed.py`. Below: `way.py`, `router.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from rlm_kernel_mcp.cluster.node.messages import Asked, Calling
from rlm_kernel_mcp.cluster.router.protocol import Node
from rlm_kernel_mcp.cluster.router.way import Way
from rlm_kernel_mcp.cluster.shared.protocol import Claim
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.session.reports import SessionList, SessionSummary
from rlm_kernel_mcp.text.wording import counted

PAGE: Final = 200
ROWS_MAX: Final = 10_000
"""Of one node, in one list."""


@dataclass(slots=True)
class _Found:
    rows: list[SessionSummary]
    passed: int = 0
    """The place in that node's own list at which its next page begins."""
    omitted: int = 0
    """How many it has behind these."""
    note: str | None = None
    driven: int | None = None
    """How many sessions it drives; None: it does not say."""


async def listed(way: Way, state: str, limit: int, offset: int, calling: Calling) -> SessionList:
    """A page of the sessions of all nodes. Raises: ClusterUnavailable, StoreUnavailable."""
    claims = {claim.session_id: claim for claim in await way.store.sessions()}
    nodes = await way.router.nodes()
    wanted = min(offset + limit, ROWS_MAX)
    names = list(nodes)
    asked = [_of_node(way, name, nodes[name], state, wanted, calling) for name in names]
    found = dict(zip(names, await asyncio.gather(*asked), strict=True))
    rows = [row for name, one in found.items() for row in one.rows if _has(claims, name, row.session_id)]
    rows.sort(key=attrgetter("last_used_at"), reverse=True)
    others = sum(one.omitted for one in found.values())
    shown = rows[offset : offset + limit]
    omitted = max(0, len(rows) + others - offset - len(shown))
    return SessionList(tuple(shown), omitted, offset, _note(found, claims, nodes))


async def _of_node(way: Way, name: str, node: Node, state: str, wanted: int, calling: Calling) -> _Found:
    found = _Found([])
    with suppress(RlmError):
        found.driven = await way.router.driven_by(name, node)
    while True:
        asked = Asked({"state": state, "limit": min(PAGE, wanted - len(found.rows)), "offset": found.passed})
        try:
            page: SessionList = (await way.router.asked_of(name, node, "door:list_sessions", asked, calling)).value(
                SessionList
            )
        except RlmError as error:
            return replace(found, note=f"{name} does not say which sessions it has: {error.message}")
        found.rows += page.rows
        found.note = found.note or page.note
        found.omitted, goes_on = page.omitted, page.goes_on
        if not page.omitted or goes_on <= found.passed or len(found.rows) >= wanted:
            return found
        found.passed = goes_on


def _has(claims: Mapping[str, Claim], name: str, session_id: str) -> bool:
    """Whether a node's row is of a session that it has: what has moved since may still be in its record."""
    claim = claims.get(session_id)
    return claim is None or claim.node == name


def _note(found: Mapping[str, _Found], claims: Mapping[str, Claim], nodes: Mapping[str, Node]) -> str | None:
    lost = sum(claim.node not in nodes for claim in claims.values())
    parts: Sequence[str | None] = [one.note for one in found.values()]
    said = [part for part in parts if part]
    if lost:
        said.append(
            f"{counted(lost, 'session')} of nodes that are gone {'is' if lost == 1 else 'are'} not listed: each comes "
            "back, with its values, when its handle is used."
        )
    of_nodes = Counter(claim.node for claim in claims.values())
    let_go = sum(max(0, of_nodes[name] - one.driven) for name, one in found.items() if one.driven is not None)
    if let_go:
        said.append(
            f"{counted(let_go, 'session')} {'is' if let_go == 1 else 'are'} in the shared store alone just now, and "
            "not listed: each is there again when its handle is used."
        )
    return " ".join(said) or None
