"""One list of the sessions of all nodes: one order, each session once, page by page, and a word on what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from rlm_kernel_mcp.cluster.node.messages import Answer, Asked
from rlm_kernel_mcp.cluster.router.lists import listed
from rlm_kernel_mcp.cluster.router.way import Way
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.errors import StoreUnavailable
from rlm_kernel_mcp.session.reports import Counters, SessionList, SessionSummary
from tests.unit.cluster.router.fake_cluster import CALLING, FakeCluster, FakeNode

pytestmark = pytest.mark.anyio


@dataclass
class ListingNode(FakeNode):
    """A node that lists; at most two sessions a page, as if each were large. `at_s`: when each was used last."""

    at_s: dict[str, int] = field(default_factory=dict)

    def _answer(self, verb: str, asked: Asked) -> Answer:
        assert verb == "door:list_sessions"
        if self.refuses is not None:
            return Answer.of_error(self.refuses)
        names = sorted(self.at_s, key=lambda name: -self.at_s[name])
        offset, limit = asked.arguments["offset"], min(asked.arguments["limit"], 2)
        rows = [
            SessionSummary(name, "idle", "", f"{self.at_s[name]:04}", 0, "text", 1, Counters())
            for name in names[offset : offset + limit]
        ]
        return Answer.of_value(SessionList, SessionList(tuple(rows), max(0, len(names) - offset - limit), offset))


def cluster_of(**nodes: dict[str, int]) -> FakeCluster:
    cluster = FakeCluster.of(*[1_024] * len(nodes))
    loads = [node.load_now for node in cluster.nodes.values()]
    cluster.nodes = {
        name: ListingNode(name, cluster.store, load, dict.fromkeys(at_s, 1), at_s=at_s)
        for (name, at_s), load in zip(nodes.items(), loads, strict=True)
    }
    for name, at_s in nodes.items():
        for session_id in at_s:
            cluster.store.claims.pop(session_id, None)
            cluster.store.claim(session_id, 1, name)
    return cluster


async def page(cluster: FakeCluster, limit: int = 10, offset: int = 0) -> SessionList:
    way = Way(cluster.router(), cast(SharedStore, cluster.store))
    return await listed(way, "live", limit, offset, CALLING)


def names(found: SessionList) -> list[str]:
    return [row.session_id for row in found.rows]


async def test_the_last_used_is_the_first_whichever_node_has_it() -> None:
    cluster = cluster_of(n0={"a": 9, "b": 5, "c": 1}, n1={"d": 8, "e": 4}, n2={})
    assert names(await page(cluster)) == ["a", "d", "b", "e", "c"]


async def test_pages_leave_nothing_out_and_have_nothing_twice() -> None:
    cluster = cluster_of(n0={f"a{at}": at * 2 for at in range(7)}, n1={f"b{at}": at * 2 + 1 for at in range(6)})
    found, offset = list[str](), 0
    while True:
        one = await page(cluster, 4, offset)
        found += names(one)
        assert one.omitted == 13 - len(found)
        if not one.omitted:
            break
        offset = one.goes_on
    assert (len(found), len(set(found))) == (13, 13)


async def test_a_session_that_has_moved_is_listed_by_the_node_that_has_it() -> None:
    cluster = cluster_of(n0={"a": 9}, n1={"a": 10})
    assert [row.last_used_at for row in (await page(cluster)).rows] == ["0010"]


async def test_what_is_not_listed_is_said() -> None:
    cluster = cluster_of(n0={"a": 9}, n1={"b": 1, "c": 2}, n2={"d": 3})
    cluster.lose("n1")
    cluster.nodes["n2"].refuses = StoreUnavailable("Its disk does not answer.")
    found = await page(cluster)
    assert names(found) == ["a"]
    assert found.note == (
        "n2 does not say which sessions it has: Its disk does not answer. 2 sessions of nodes that are gone are not "
        "listed: each comes back, with its values, when its handle is used."
    )


async def test_those_that_a_node_has_let_go_of_are_counted() -> None:
    cluster = cluster_of(n0={"a": 9, "b": 8}, n1={"c": 1})
    assert (await page(cluster)).note is None
    for session_id in ("d", "e"):
        cluster.store.claim(session_id, 1, "n1")  # and its node has it neither in its record nor in memory
    assert (await page(cluster)).note == (
        "2 sessions are in the shared store alone just now, and not listed: each is there again when its handle is "
        "used."
    )
