"""SIGKILL of the host at any moment of its clients' work: all of it is answered, once, and goes on where it was.

`bin/soak host_kills --count 200`. Is: several agents behind fronts (`agents.py`), of which one or more ask for steps,
contexts, values, answers and cancellations at once while the others are idle; a host, or the one that just begins to
follow it, that is killed at a moment that is drawn; and a look at what is left at the end. Is not: the deaths of
kernels and disks (`tests/faults/`).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.front.hosts import FRONT, HERE, Hosts
from tests.mcp.line_client import WAIT_S
from tests.soaks.hosts.agents import Agent, Counted
from tests.soaks.hosts.left import Left

LATEST_S: Final = ((0.02, 2), (0.3, 6), (2.0, 2))
"""A host is killed within so many seconds of the requests, each so often in ten."""
AGAIN: Final = 0.15
"""How often the next host is killed too, as it begins or restores what the first one had."""
AGENTS: Final = {"a": {}, "b": {"RLM_MAX_SESSIONS": "3"}, "c": {"RLM_IMPORTS": "sqlite3"}}
"""By name, with what its client has set: two share kernels, one has another profile."""
AT_WORK: Final = (1, 1, 2, 3)
"""How many of them ask for something before a kill, each as often: a host that has one to restore begins sooner."""
IDLE_MAX: Final = 3
FILE_LINES: Final = 600_000


@contextmanager
def hosts_of(idle_s: float) -> Iterator[Hosts]:
    """Hosts of a place of their own."""
    base = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    for name in ("sockets", "clients"):
        (base / name).mkdir()
    hosts = Hosts(base / "sockets", base / "clients")
    hosts.env["RLM_HOST_IDLE_S"] = f"{idle_s:g}"
    try:
        yield hosts
    finally:
        hosts.close()
        shutil.rmtree(base)


class Kills:
    """One run."""

    def __init__(self, hosts: Hosts, chance: random.Random) -> None:
        self.hosts, self.random = hosts, chance
        self.told: Counter[str] = Counter()
        self.idle: Counter[str] = Counter()
        """By session: how many kills in a row an agent has asked for nothing before."""
        self.left = Left(hosts)
        self.agents = [self._agent(name, env) for name, env in AGENTS.items()]

    def _agent(self, name: str, env: dict[str, str]) -> Agent:
        directory = self.hosts.directory / name
        directory.mkdir()
        text = "a line of ten\n" * FILE_LINES
        (directory / "large.txt").write_text(text, encoding="ascii")
        client = Counted(directory, {**self.hosts.env, **env}, FRONT, warm=False)
        self.hosts.clients.append(client)
        return Agent(client, random.Random(self.random.random()), ("large.txt", len(text)))

    def round(self) -> None:
        """Have everybody ask, kill the host, and hold each to its word."""
        self.left.look()
        pid = self._only()
        at_work = self._at_work()
        begun = [(agent, asked) for agent in at_work for asked in agent.begin()]
        (latest_s,) = self.random.choices([one for one, _ in LATEST_S], [often for _, often in LATEST_S])
        signal.sigtimedwait([], self.random.uniform(0, latest_s))
        self._kill(pid)
        if self.random.random() < AGAIN:
            self._kill(self._next())
            self.told["the next one too"] += 1
        for agent, asked in begun:
            agent.settle(asked)
        for agent in at_work:
            agent.check()

    def _at_work(self) -> list[Agent]:
        """Who asks this time; nobody is idle for so long that its front gives up on hosts that die (decision 0132)."""
        drawn = self.random.sample(self.agents, self.random.choice(AT_WORK))
        at_work = [agent for agent in self.agents if agent in drawn or self.idle[agent.session_id] >= IDLE_MAX]
        idle = [agent.session_id for agent in self.agents if agent not in at_work]
        self.idle = Counter({one: self.idle[one] + 1 for one in idle})
        return at_work

    def _only(self) -> int:
        """The one host, once what began it has ended, which shows the same command line."""
        deadline = time.monotonic() + WAIT_S
        while len(found := self.hosts.everyone()) != 1:
            assert time.monotonic() < deadline, f"{len(found)} hosts"
            self.agents[0].client.pause()
        return found[0]

    def _kill(self, pid: int) -> None:
        signal.pidfd_send_signal(self.hosts.known[pid], signal.SIGKILL)
        self.hosts.wait_for_end(pid)
        self.told["kills"] += 1
        for agent in self.agents:
            agent.client.account.deaths += 1

    def _next(self) -> int:
        """The host that follows, a moment after it has begun to listen."""
        deadline = time.monotonic() + WAIT_S
        while (found := self.hosts.pid()) is None:
            assert time.monotonic() < deadline, "no host follows"
            for agent in self.agents:
                agent.client.take()
        signal.sigtimedwait([], self.random.uniform(0, LATEST_S[1][0]))
        return found

    def end(self) -> None:
        """Everybody's ordinary end."""
        self.left.look()
        known = {agent.session_id for agent in self.agents}
        client = self.agents[0].client
        for row in client.data("rlm_list_sessions", limit=200)["sessions"]:
            if row["session_id"] not in known:  # nobody heard that it was opened
                client.data("rlm_finalize", session_id=row["session_id"], final_text="not wanted")
                self.told["sessions that nobody had heard of"] += 1
        hosts = [self._only()]
        for agent in self.agents:
            agent.end()
            assert HERE not in agent.client.log.read_text(encoding="utf-8")
            self.told.update(agent.told)
        for pid in hosts:
            self.hosts.wait_for_end(pid)


def run(count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """At least so many kills; raises at the first promise that does not hold, after saying where."""
    with hosts_of(1) as hosts:
        kills, told = Kills(hosts, random.Random(seed)), 0
        try:
            while kills.told["kills"] < count:
                kills.round()
                if (said := kills.told["kills"] // 20) > told:
                    told = said
                    say(f"{kills.told['kills']} of {count} kills, seed {seed}: {dict(kills.told)}")
            kills.end()
        except BaseException:
            say(f"seed {seed}, after {kills.told['kills']} kills: {dict(kills.told)}\n{hosts.log()[-4_000:]}")
            raise
        left = kills.left.at_the_end()
        return {"left": left, "run directories seen": kills.left.directories, **kills.told}


def main(argv: Sequence[str]) -> int:
    """`bin/soak host_kills`."""
    parser = argparse.ArgumentParser(prog="bin/soak host_kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=200, help="hosts that are killed (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: 1)")
    found = parser.parse_args(argv)
    began = time.monotonic()
    table = run(found.count, found.seed, lambda line: print(line, flush=True))
    print(json.dumps({"soak": "host_kills", "seed": found.seed, "s": round(time.monotonic() - began), **table}))
    return int(bool(table["left"]))
