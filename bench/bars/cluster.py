"""What a cluster costs, and how soon its sessions are back: three nodes of a Ray on this machine against home.

Home is the same host without the cluster: a program's own (`Session(host="off")`). It needs Ray: bin/setup --with ray.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.measure import Amounts, Bar, Figures, Row, interleave, milliseconds
from rlm_kernel_mcp.api import AsyncSession
from tests.cluster.keeper import Keeper, kept

AT_ONCE = 24
OPENED = 60
CODE = "1 + 1"
WHY = "processes of Ray, a store that syncs, and kernels share two processors here"


async def cluster(amounts: Amounts) -> list[Row]:
    """A step home and in a cluster of either durability, sessions at once, where they go, and a node killed."""
    if importlib.util.find_spec("ray") is None:
        print("cluster: left out, since Ray is not installed (bin/setup --with ray)", file=sys.stderr)
        return []
    logging.disable(logging.WARNING)
    if amounts.smoke:  # one cluster alone: each takes half a minute to begin and to end
        home, away = await _steps(amounts, "ack")
        return [Row("a step through router and Ray (`ack`)", away, "at home", home)]
    home_beside_lag, lag = await _steps(amounts, "lag")
    home_beside_ack, ack = await _steps(amounts, "ack")
    rows = [
        Row("a step through router and Ray (`lag`)", lag, "at home", home_beside_lag, bar=Bar(2), why_missed=WHY),
        Row("a step through router and Ray (`ack`)", ack, "at home", home_beside_ack),
        Row("a step, `ack`", ack, "`lag`, in the cluster before", lag, bar=Bar(2), why_missed=WHY),
    ]
    three, placed, back = await _of_three(amounts)
    one = await _rate(amounts, nodes=1)
    what = f"{AT_ONCE} sessions opened at once, over three nodes"
    rows.append(
        Row(what, three, "over one node, the same processors", one, "per s", Bar(0.9, "at least"), why_missed=WHY)
    )
    rows.append(Row(f"fullest node of {OPENED} random opens", placed, "the mean", None, "times", Bar(1.2, of="ours")))
    rows.append(
        Row("a node is killed: the last of 8 sessions has run its next step", back, unit="s", bar=Bar(5, of="ours"))
    )
    return rows


@asynccontextmanager
async def _cluster(nodes: int = 3, **env: str) -> AsyncIterator[Keeper]:
    with tempfile.TemporaryDirectory(prefix="rlm-", dir="/tmp") as directory:
        making = kept(Path(directory), nodes, 8_192, RLM_MAX_SESSIONS="64", **env)
        keeper = await asyncio.to_thread(making.__enter__)
        try:
            yield keeper
        finally:
            _leave()  # first: Ray waits long for a cluster that is gone
            await asyncio.to_thread(making.__exit__, None, None, None)


def _leave() -> None:
    """The next cluster is another one, and a process is a part of one alone. Its token is the same, in another file."""
    from rlm_kernel_mcp.cluster.ray_actors import disconnect

    disconnect()
    os.environ.pop("RAY_AUTH_TOKEN_PATH", None)


async def _steps(amounts: Amounts, durability: str) -> tuple[Figures, Figures]:
    async with _cluster(RLM_CLUSTER_DURABILITY=durability) as keeper:
        with tempfile.TemporaryDirectory(prefix="rlm-") as state:
            own = AsyncSession(host="off", context_text="x", env={"RLM_STATE_DIR": state, "RLM_MEMORY_LIMIT_MB": "128"})
            far = AsyncSession(cluster="auto", context_text="x", env=keeper.env)
            async with own, far:
                sides = [lambda: milliseconds(lambda: own.run(CODE)), lambda: milliseconds(lambda: far.run(CODE))]
                home, away = await interleave(sides, amounts.times(150), warm_up=amounts.times(10))
    return home, away


async def _opened_at_once(keeper: Keeper, count: int, stack: AsyncExitStack) -> tuple[float, list[AsyncSession]]:
    sessions = [AsyncSession(cluster="auto", context_text=f"text {at}", env=keeper.env) for at in range(count)]
    begin = time.perf_counter()
    await asyncio.gather(*(one.open() for one in sessions))
    rate = count / (time.perf_counter() - begin)
    for one in sessions:
        stack.push_async_callback(one.close)
    return rate, sessions


async def _rate(amounts: Amounts, nodes: int) -> Figures:
    async with _cluster(nodes) as keeper:
        return await _rates(keeper, amounts)


async def _rates(keeper: Keeper, amounts: Amounts) -> Figures:
    rates = []
    for _ in range(amounts.times(3)):
        async with AsyncExitStack() as stack:
            rate, _ = await _opened_at_once(keeper, AT_ONCE, stack)
            rates.append(rate)
    return Figures(tuple(rates))


async def _of_three(amounts: Amounts) -> tuple[Figures, Figures, Figures]:
    """Sessions a second, how evenly they lie, and seconds after a kill."""
    async with _cluster() as keeper:
        three = await _rates(keeper, amounts)
        async with AsyncExitStack() as stack:
            _, sessions = await _opened_at_once(keeper, OPENED, stack)
            nodes = Counter([await _node_of(keeper, one) for one in sessions])
            placed = max(nodes.values()) / (len(sessions) / 3)
        backs = [await _back(keeper, random.Random(seed)) for seed in range(amounts.times(5))]
    return three, Figures((placed,)), Figures(tuple(backs))


async def _node_of(keeper: Keeper, session: AsyncSession) -> str:
    from tests.cluster.looking import node_of

    return (await node_of(keeper, session.session_id)).node


async def _back(keeper: Keeper, chance: random.Random) -> float:
    """Seconds from the kill of a node until the last of its sessions, of 8 or more, has run its next step."""
    from tests.cluster.looking import node_of

    async with AsyncExitStack() as stack:
        _, sessions = await _opened_at_once(keeper, 24, stack)
        for one in sessions:
            await one.run("x = 1")
        where = [await node_of(keeper, one.session_id) for one in sessions]
        victim = chance.choice(where)
        there = [one for one, node in zip(sessions, where, strict=True) if node.node == victim.node][:8]
        begin = time.perf_counter()
        keeper.kill(victim.pid)

        async def next_step(one: AsyncSession) -> float:
            report = await one.run("x")
            while report.status == "unknown":
                report = await one.run("x")
            assert report.result == "1", report
            return time.perf_counter() - begin

        back = max(await asyncio.gather(*map(next_step, there)))
        await asyncio.to_thread(keeper.add)
    return back
