"""Nodes that are killed and stopped under sessions that step: `bin/soak nodes --count 100`.

Three nodes in processes of their own, without Ray, and eight sessions that step without a pause. At a random moment a
node is killed, or ends itself on a random line of its store, or is stopped while others take its sessions over and goes
on after that. Whoever loses a call has the session adopted elsewhere, tells the step that was in flight, and goes on.

What has to hold: no step that was answered is lost or has run twice, no name is said to be lost or older than it is,
and nothing that a stopped node says after it was taken over counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.errors import NodeLost, RlmError, SessionMoved, StoreUnavailable
from tests.cluster.node.nodes import RemoteNode, started
from tests.cluster.node.test_takeovers import APPENDS

NODES: Final = 3
SESSIONS: Final = 8
BEGIN: Final = "ran = []; kept = 'as it was'"
CHECK: Final = "import json; print(json.dumps([ran, kept]))"
TRIES: Final = 50


@dataclass
class Driven:
    """One session, and what it has to be."""

    session_id: str
    node: RemoteNode
    answered: list[int] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)
    """Steps that were answered while values were not durable, as the answers said."""
    open_to: list[int] = field(default_factory=list)
    """Steps whose answers never came, or were behind when their node was lost: each may have run, once."""
    may_be_older: bool = False
    """Whether the answers before the last loss said that values were not durable."""
    next_step: int = 0


class Soak:
    """One run."""

    def __init__(self, seed: int, directory: Path, shared: SharedStore) -> None:
        self.random, self.directory, self.shared = random.Random(seed), directory, shared
        self.ends, self.nodes, self.made = AsyncExitStack(), list[RemoteNode](), 0
        self.counts: Counter[str] = Counter()
        self.back_s = list[float]()
        self.is_over = False

    async def start_node(self) -> None:
        """One more."""
        self.made += 1
        node = await self.ends.enter_async_context(started(self.directory, f"n{self.made}"))
        self.nodes.append(node)

    async def run(self, kills: int) -> None:
        """Kill so many nodes, and check what is left."""
        async with self.ends:
            await asyncio.gather(*(self.start_node() for _ in range(NODES)))
            sessions = [await self._opened() for _ in range(SESSIONS)]
            drivers = [asyncio.create_task(self._drive(one)) for one in sessions]
            try:
                for _ in range(kills):
                    moment_s = self.random.uniform(0.2, 1.5)
                    failed, _ = await asyncio.wait(drivers, timeout=moment_s, return_when=asyncio.FIRST_EXCEPTION)
                    for driver in failed:
                        driver.result()
                    await self._hurt(self.random.choice(self.nodes))
            finally:
                self.is_over = True
                await asyncio.gather(*drivers)
            for one in sessions:
                await self._check(one)
                await self._check_trace(one)

    async def _opened(self) -> Driven:
        node = self.random.choice(self.nodes)
        one = Driven(await node.opened(), node)
        await node.step(one.session_id, BEGIN)
        return one

    async def _hurt(self, node: RemoteNode) -> None:
        """A node less, in one of the ways, and another one for it."""
        way = self.random.choice(("killed", "on a line", "stopped"))
        self.counts[way] += 1
        self.nodes.remove(node)
        if way == "killed":
            node.signal(signal.SIGKILL)
        elif way == "on a line":
            await node.arm(self.random.choice(APPENDS), self.random.randint(1, 5))
        else:
            node.signal(signal.SIGSTOP)
            node.lose()
        await self.start_node()
        if way == "stopped":
            node.signal(signal.SIGCONT)
        else:
            node.signal(signal.SIGKILL)

    async def _drive(self, one: Driven) -> None:
        while not self.is_over:
            number = one.next_step = one.next_step + 1
            code = f"ran.append({number}); v{number % 5} = 'v' * {self.random.choice((1, 1_000, 100_000))}"
            try:
                report = await one.node.step(one.session_id, code)
            except NodeLost:
                one.may_be_older = bool(one.behind)
                one.open_to += [*one.behind, number]
                one.behind = []
                await self._move(one, code)
                await self._check(one)
            else:
                assert report["status"] == "ok", report
                one.behind.append(number)
                self.counts["steps"] += 1
                if "not_durable" in report:
                    self.counts["answers with values behind"] += 1
                else:
                    one.answered += one.behind
                    one.behind = []

    async def _move(self, one: Driven, code: str) -> None:
        begun_s = time.monotonic()
        for _ in range(TRIES):
            newest = await self.shared.newest(one.session_id)
            assert newest is not None
            node = self.random.choice(self.nodes)
            try:
                await node.adopt(one.session_id, newest.epoch + 1)
                await node.lost_step(one.session_id, code)
            except (NodeLost, SessionMoved, StoreUnavailable) as error:
                self.counts[f"{type(error).__name__} while it moved"] += 1
                continue
            one.node = node
            self.counts["moves"] += 1
            self.back_s.append(time.monotonic() - begun_s)
            return
        raise AssertionError(f"{one.session_id} was not had in {TRIES} tries")

    async def _check(self, one: Driven) -> None:
        """What the session has is what was answered, and of what was in flight each at most once."""
        report = await self._checked(one)
        lost = (report["lost"] or {}).get("lost", [])
        assert lost == [] or one.may_be_older, f"told to be lost or older: {lost}"
        ran, kept = json.loads(report["stdout"])
        assert kept == "as it was"
        assert len(ran) == len(set(ran)), f"ran twice: {ran}"
        known = {*one.answered, *one.behind, *one.open_to}
        assert set(one.answered) <= set(ran) <= known, f"{ran} of {one.answered}"

    async def _checked(self, one: Driven) -> dict[str, Any]:
        for _ in range(TRIES):
            try:
                return await one.node.step(one.session_id, CHECK)
            except NodeLost:
                await self._move(one, CHECK)
        raise AssertionError(f"{one.session_id} was not had in {TRIES} tries")

    async def _check_trace(self, one: Driven) -> None:
        """Each step is in the trace once, with the end that was told."""
        offset: int | None = 0
        codes = Counter[str]()
        while offset is not None:
            page = await one.node.data("rlm_get_trace", session_id=one.session_id, detail="full", offset=offset)
            rows = (row for row in page["events"] if row["action"] == "run_repl" and row["result_status"] == "ok")
            codes.update(row["code"].partition(";")[0] for row in rows)
            offset = page["next_offset"]
        for number in one.answered:
            assert codes[f"ran.append({number})"] == 1, f"step {number} of {one.session_id}"


async def soak(count: int, seed: int) -> dict[str, object]:
    """What one run counted. Raises: AssertionError: something did not hold."""
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as made:
        shared = open_store(f"{made}/shared")
        run = Soak(seed, Path(made), shared)
        try:
            await run.run(count)
        except RlmError as error:
            raise AssertionError(f"{error.code}: {error.message}") from error
        finally:
            await shared.close()
    back = sorted(run.back_s) or [0.0]
    times = {"back_s_median": round(back[len(back) // 2], 2), "back_s_last": round(back[-1], 2)}
    return {**dict(sorted(run.counts.items())), **times, "lost": 0, "run_twice": 0, "told_older": 0}


def main(argv: Sequence[str]) -> int:
    """`bin/soak nodes`."""
    parser = argparse.ArgumentParser(prog="bin/soak nodes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="nodes that are lost (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: 1)")
    found = parser.parse_args(argv)
    began = time.monotonic()
    table = asyncio.run(soak(found.count, found.seed))
    print(json.dumps({"soak": "nodes", "seed": found.seed, "s": round(time.monotonic() - began), **table}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
