"""Hosts in quantity: killed at any moment, met at the edge of their end, and used by many clients that come and go.

Is: `bin/soak hosts`, with counts and a seed; the tests beside it try each once. Is not: attacks
(`tests/escape/front/`).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from tests.front.hosts import HERE, Hosts
from tests.mcp.line_client import LineClient

LATEST_S: Final = 0.3
"""After the begin of a step the host is killed within this."""
WORK: Final = "for number in range(2_000_000): pass\n"
MORE: Final = 1.05
"""So much of what a host had at first it may have after many clients."""


@contextmanager
def hosts_of(idle_s: int) -> Iterator[Hosts]:
    base = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    for name in ("sockets", "clients"):
        (base / name).mkdir()
    hosts = Hosts(base / "sockets", base / "clients")
    hosts.env["RLM_HOST_IDLE_S"] = str(idle_s)
    try:
        yield hosts
    finally:
        hosts.close()
        shutil.rmtree(base)


class Counting:
    """A client whose session counts its steps: after a death it has the last one answered, or the one in flight."""

    def __init__(self, client: LineClient) -> None:
        self.client = client
        client.initialize()
        self.session_id = client.open_session(max_steps=10_000, budget_limit=100_000_000, max_runtime_ms=3_600_000)
        client.run(self.session_id, "x = 0")
        self.confirmed = self.tried = 0

    def begin(self) -> int:
        self.tried += 1
        return self.client.begin("rlm_run_repl", {"session_id": self.session_id, "code": f"{WORK}x = {self.tried}"})

    def settled(self, request: int) -> str:
        """How a step was answered: by its host, or for it."""
        answer = self.client.answer(request)
        self.client.seen.clear()
        if "result" in answer:
            self.confirmed = self.tried
            return "answered"
        assert answer["error"]["code"] == -32603, answer
        assert "may have run" in answer["error"]["message"], answer
        return "unknown"

    def check(self) -> None:
        """The value is that of the last step answered, or of one after it."""
        now = int(self.client.run(self.session_id, "x")["result"])
        assert self.confirmed <= now <= self.tried, (self.confirmed, now, self.tried)
        self.confirmed = self.tried = now
        self.client.seen.clear()


def kills(count: int, chance: random.Random) -> Counter[str]:
    """SIGKILL of the host at any moment of two clients' steps."""
    told: Counter[str] = Counter()
    with hosts_of(60) as hosts:
        clients = [Counting(hosts.client(name)) for name in ("a", "b")]
        for _ in range(count):
            (pid,) = hosts.everyone()
            requests = [client.begin() for client in clients]
            signal.sigtimedwait([], chance.uniform(0, LATEST_S))
            os.kill(pid, signal.SIGKILL)
            hosts.wait_for_end(pid)
            for client, request in zip(clients, requests, strict=True):
                told[client.settled(request)] += 1
            for client in clients:
                client.check()
            told["kills"] += 1
        for client in clients:
            assert HERE not in client.client.log.read_text(encoding="utf-8")
    return told


def edges(count: int, chance: random.Random) -> Counter[str]:
    """Clients that come as a host is just ending."""
    told: Counter[str] = Counter()
    with hosts_of(0) as hosts:
        for _ in range(count):
            first = hosts.client("first")
            first.initialize()
            before = hosts.everyone()
            first.end()
            signal.sigtimedwait([], chance.uniform(0, 0.05))
            second = hosts.client("second")
            second.initialize()
            told["the same host" if hosts.everyone() == before else "another host"] += 1
            second.end()
            for client in (first, second):
                assert HERE not in client.log.read_text(encoding="utf-8")
            hosts.clients.clear()
    return told


def visits(count: int, chance: random.Random) -> Counter[str]:
    """Clients that come and go, some of them killed: the host has what it had before."""
    told: Counter[str] = Counter()
    with hosts_of(60) as hosts:
        stays = hosts.client("stays")
        stays.initialize()
        stays.open_session()

        def visit() -> None:
            guest = hosts.client("guest")
            guest.initialize()
            guest.request("tools/list")
            guest.kill() if chance.random() < 0.3 else guest.end()
            hosts.clients.remove(guest)
            guest.stdout.close()

        for _ in range(20):
            visit()
        stays.request("ping")
        host = psutil.Process(hosts.everyone()[0])
        before = (host.num_threads(), host.num_fds(), host.memory_info().rss)
        for _ in range(count):
            visit()
        stays.request("ping")
        after = (host.num_threads(), host.num_fds(), host.memory_info().rss)
        told.update(clients=count, threads=after[0], descriptors=after[1], rss_mb=after[2] >> 20)
        assert all(now <= then * MORE + 1 for then, now in zip(before, after, strict=True)), (before, after)
    return told


KINDS: Final[dict[str, Callable[[int, random.Random], Counter[str]]]] = {
    "kills": kills,
    "edges": edges,
    "visits": visits,
}


def main(argv: Sequence[str]) -> int:
    """Run one kind, or all."""
    parser = argparse.ArgumentParser(prog="bin/soak hosts", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--count", type=int, default=200, help="of each kind (default: 200)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of what is drawn at random")
    options = parser.parse_args(argv)
    for kind in options.kinds or KINDS:
        began = time.monotonic()
        told = KINDS[kind](options.count, random.Random(options.seed))
        seconds = time.monotonic() - began
        print(f"{kind}, seed {options.seed}, {seconds:.0f} s: {dict(sorted(told.items()))}", flush=True)
    return 0
