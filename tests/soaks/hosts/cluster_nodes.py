"""`bin/soak cluster --count 100`: nodes of a Ray are killed while sessions step on them; nothing acknowledged is lost.

Is: three nodes, eight sessions that step all the time, and a node that is killed at a moment that is drawn: its host,
its Ray, or both at once, as when a machine loses its power. After each kill every session goes on, and has to have each
step that was acknowledged, none twice, and no name that is called lost. Is not: crashes at each line of the store
(`tests/unit/cluster/shared/`). It needs Ray: bin/setup --with ray.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from rlm_kernel_mcp.api import AsyncSession
from rlm_kernel_mcp.cluster.node.messages import Load
from rlm_kernel_mcp.errors import RlmError
from tests.cluster.keeper import NODE_MB, NODES, Keeper, kept
from tests.cluster.looking import node_of

SESSIONS: Final = 8
LATEST_S: Final = 1.5
"""Within so many seconds after a kill was decided upon it is done."""
KINDS: Final = ("machine", "machine", "host", "raylet")
"""What is killed, each as often."""
ORPHAN_S: Final = 10.0
BACK_S: Final = 60.0
"""After which a session that has run no step is a failure."""
FIRST: Final = "steps = []"
STEP: Final = "steps.append({number}); last = 'x' * 50 + str({number})"


@dataclass(slots=True)
class Stepping:
    """A session that steps, and what it was told."""

    session: AsyncSession
    acknowledged: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    number: int = 0
    lost_names: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    last: int = 0
    """The last step that was acknowledged."""

    async def run(self, until: asyncio.Event) -> None:
        """Step until it is told to stop."""
        while not until.is_set():
            self.number += 1
            try:
                report = await self.session.run(STEP.format(number=self.number))
            except RlmError as error:  # nothing was acknowledged
                self.unknown.add(self.number)
                self.refused[error.code] += 1
                continue
            if report.lost is not None:
                self.lost_names += len(report.lost.names) + report.lost.more_lost
            if report.status == "ok":
                self.acknowledged.add(self.number)
                self.last = self.number
            else:
                assert report.status == "unknown", report
                self.unknown.add(self.number)

    async def check(self) -> None:
        """Each acknowledged step is there, and none twice."""
        steps = await self.session.get("steps", list)
        assert len(steps) == len({*steps}), (
            f"{self.session.session_id} ran a step twice: {Counter(steps).most_common(3)}"
        )
        missing = self.acknowledged - {*steps}
        assert not missing, f"{self.session.session_id} has lost the acknowledged steps {sorted(missing)[:5]}"
        strange = {*steps} - self.acknowledged - self.unknown
        assert not strange, f"{self.session.session_id} has steps that nobody ran: {sorted(strange)[:5]}"
        assert not self.lost_names, f"{self.session.session_id} calls {self.lost_names} names lost"


class Kills:
    """One run."""

    def __init__(self, keeper: Keeper, chance: random.Random) -> None:
        self.keeper, self.random = keeper, chance
        self.sessions: list[Stepping] = []
        self.told: Counter[str] = Counter()
        self.back_s: list[float] = []

    async def open(self) -> None:
        for number in range(SESSIONS):
            session = AsyncSession(cluster="auto", env=self.keeper.env, context_text=f"text {number}")
            await session.open()
            assert (await session.run(FIRST)).status == "ok"
            self.sessions.append(Stepping(session))

    async def close(self) -> None:
        for one in self.sessions:
            with contextlib.suppress(RlmError):
                await one.session.close()

    async def round(self) -> None:
        """Have all step, kill a node, and hold each session to what it was told."""
        stop = asyncio.Event()
        working = [asyncio.create_task(one.run(stop)) for one in self.sessions]
        try:
            await asyncio.wait(working, timeout=self.random.uniform(0.1, LATEST_S))
            victim, there = await self._victim()
            kind = self._kill(victim)
            await self._host_ended(victim.pid)
            await self._all_back(there, kind, working)
        finally:
            stop.set()
            await asyncio.gather(*working)
        for one in self.sessions:
            await one.check()
        self.told["steps acknowledged"] = sum(len(one.acknowledged) for one in self.sessions)
        self.told["steps in flight as a node died"] = sum(len(one.unknown) for one in self.sessions)

    async def _victim(self) -> tuple[Load, list[Stepping]]:
        """A node that has sessions, and which."""
        where = [await node_of(self.keeper, one.session.session_id) for one in self.sessions]
        name = self.random.choice(sorted({node.node for node in where}))
        there = [one for one, node in zip(self.sessions, where, strict=True) if node.node == name]
        return next(node for node in where if node.node == name), there

    def _kill(self, victim: Load) -> str:
        kind = self.random.choice(KINDS)
        self.told[f"kills of a {kind}"] += 1
        self.told["kills"] += 1
        raylet, host, *beside = self.keeper.processes(victim.pid)
        killed = {"machine": [raylet, host, *beside], "host": [host], "raylet": [raylet]}[kind]
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if kind != "host":
            self.keeper.add_soon()
        return kind

    async def _host_ended(self, pid: int) -> None:
        """Without its Ray a host works on for a moment, and is ended by that, or here."""
        with contextlib.suppress(psutil.NoSuchProcess):
            _, left = await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid)], ORPHAN_S)
            for one in left:
                one.kill()

    async def _all_back(self, there: Sequence[Stepping], kind: str, working: Sequence[asyncio.Task[None]]) -> None:
        """Each session of that node has run a step that it began since.

        Without its Ray a host works on for a moment.
        """
        begun_s = time.monotonic()
        before = {one.session.session_id: one.number for one in there}
        deadline = begun_s + BACK_S
        while not all(one.last > before[one.session.session_id] for one in there):
            assert time.monotonic() < deadline, f"not back after {BACK_S:.0f} s"
            done, _ = await asyncio.wait(working, timeout=0.05)
            for task in done:
                task.result()
        self.back_s += [time.monotonic() - begun_s] if kind != "raylet" else []
        await asyncio.to_thread(self.keeper.added)


async def run(count: int, seed: int, say: Callable[[str], None], **env: str) -> dict[str, Any]:
    """So many kills; raises at the first promise that does not hold."""
    begun_s = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="rlm-", dir="/tmp") as directory,
        kept(Path(directory), NODES, NODE_MB, **env) as keeper,
    ):
        kills = Kills(keeper, random.Random(seed))
        try:
            await kills.open()
            for number in range(1, count + 1):
                await kills.round()
                last = f"the last after {kills.back_s[-1]:.1f} s" if kills.back_s else ""
                say(f"{number:>4} of {count}: all sessions went on; {last}; {dict(kills.told)}")
        finally:
            await kills.close()
    back = sorted(kills.back_s)
    return {
        "seed": seed,
        **kills.told,
        "acknowledged steps lost": 0,
        "steps run twice": 0,
        "names called lost that were not": 0,
        "last session back, s, of machines and hosts": {"median": _s(back, 0.5), "most": _s(back, 1.0)},
        "took_s": round(time.monotonic() - begun_s),
    }


def _s(back: Sequence[float], part: float) -> float | None:
    return round(back[min(len(back) - 1, int(len(back) * part))], 2) if back else None


def main(argv: Sequence[str]) -> int:
    """Returns 0 where every promise was kept."""
    parser = argparse.ArgumentParser(prog="bin/soak cluster", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="kills (default: 100)")
    parser.add_argument("--seed", type=int, default=18)
    options = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    result = asyncio.run(run(options.count, options.seed, lambda line: print(line, flush=True)))
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
