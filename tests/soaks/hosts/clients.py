"""Clients that come and go at one host, in every way in which a client can end: the host then has what it had before.

`bin/soak host_clients --count 1000`. Is: clients behind real fronts, ten at a time, some of them with a session, and
a look from outside at what the host has (`held.py`). Is not: those who only watch (`watchers.py`), nor the host's own
death (`kills.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Final

import psutil

from tests.front.hosts import FRONT, HERE, Hosts
from tests.mcp.line_client import LineClient
from tests.soaks.hosts.held import REST_S, at_rest, is_no_more
from tests.soaks.hosts.kills import hosts_of
from tests.soaks.hosts.left import Left

AT_ONCE: Final = 10
LAUNCHER: Final = (sys.executable, "-I", "-S", "-c", "import subprocess, sys; subprocess.call(sys.argv[1:])")
"""A client that starts its front and can be killed, while somebody else holds the pipes."""
SESSIONS: Final = 0.15
"""How many of the clients open a session."""


class Visits:
    """One run."""

    def __init__(self, hosts: Hosts, chance: random.Random) -> None:
        self.hosts, self.random = hosts, chance
        self.told: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._ends: tuple[Callable[[LineClient], None], ...] = (
            self.input_ends,
            self.input_ends,
            self.front_killed,
            self.client_killed,
            self.output_closed,
            self.in_the_middle_of_a_line,
            self.before_it_has_spoken,
        )
        self.stays = hosts.client("stays")
        self.stays.initialize()
        (self.pid,) = hosts.everyone()
        self.session_id = self.stays.open_session()

    def many(self, count: int) -> None:
        """Let so many come and go, ten at a time."""
        seeds = [self.random.random() for _ in range(count)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self.one, range(count), seeds):
                continue

    def one(self, number: int, seed: float) -> None:
        """One client's whole life."""
        chance = random.Random(seed)
        end = chance.choice(self._ends)
        directory = self.hosts.directory / f"guest{number % (2 * AT_ONCE)}"
        directory.mkdir(exist_ok=True)
        before = LAUNCHER if end == self.client_killed else ()
        log = os.open(os.devnull, os.O_WRONLY)
        client = LineClient(directory, self.hosts.env, (*before, *FRONT), log, warm=False)
        os.close(log)
        session_id = ""
        try:
            if end != self.before_it_has_spoken:
                client.initialize()
                client.request("tools/list")
                if chance.random() < SESSIONS:
                    session_id = client.open_session("some text")
                    assert client.run(session_id, "len(context)")["result"] == "9"
            end(client)
        finally:
            client.kill()
        with self._lock:
            self.told[end.__name__.replace("_", " ")] += 1
            self.told["sessions"] += bool(session_id)
            if session_id:
                self.stays.data("rlm_finalize", session_id=session_id, final_text="its client is gone")

    def input_ends(self, client: LineClient) -> None:
        """EOF."""
        assert client.end() == 0

    def front_killed(self, client: LineClient) -> None:
        """SIGKILL of the front, with a call in flight."""
        client.send("tools/list")
        client.process.kill()
        client.process.wait()

    def client_killed(self, client: LineClient) -> None:
        """SIGKILL of the process that started the front; no end of the input comes."""
        front = psutil.Process(client.process.pid).children()
        client.process.kill()
        client.process.wait()
        _, alive = psutil.wait_procs(front, timeout=REST_S)
        assert not alive, alive

    def output_closed(self, client: LineClient) -> None:
        """Nobody reads any more, and more is asked before the input ends."""
        client.stdout.close()
        for _ in range(5):
            client.send("tools/list")
        assert client.end() == 0

    def in_the_middle_of_a_line(self, client: LineClient) -> None:
        """The input ends within a request."""
        client.stdin.write(b'{"jsonrpc": "2.0", "id": 99, "meth')
        client.stdin.flush()
        assert client.end() == 0

    def before_it_has_spoken(self, client: LineClient) -> None:
        """SIGKILL of a front that has just begun: at any moment of its handshake."""
        signal.sigtimedwait([], 0.03 * (client.process.pid % 100) / 100)
        client.process.kill()
        client.process.wait()


def run(count: int, seed: int) -> dict[str, Any]:
    """A tenth of them first, so that what is made once has been made; then all."""
    with hosts_of(1) as hosts:
        left = Left(hosts)
        visits = Visits(hosts, random.Random(seed))
        visits.many(max(count // 10, 2 * AT_ONCE))
        before = at_rest(visits.pid, visits.stays)
        visits.told.clear()
        visits.many(count)
        after = at_rest(visits.pid, visits.stays, before)
        left.look()
        assert hosts.everyone() == [visits.pid], hosts.log()
        assert visits.stays.run(visits.session_id, "6 * 7")["result"] == "42"
        visits.stays.data("rlm_finalize", session_id=visits.session_id, final_text="done")
        assert visits.stays.end() == 0
        assert HERE not in visits.stays.log.read_text(encoding="utf-8")
        hosts.wait_for_end(visits.pid)
        return {
            "leaks": [] if is_no_more(after, before) else ["what the host has"],
            "left": left.at_the_end(),
            "before": asdict(before),
            "after": asdict(after),
            **dict(sorted(visits.told.items())),
        }


def main(argv: Sequence[str]) -> int:
    """`bin/soak host_clients`."""
    parser = argparse.ArgumentParser(prog="bin/soak host_clients", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000, help="clients that come and go (default: 1,000)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: 1)")
    found = parser.parse_args(argv)
    began = time.monotonic()
    table = run(found.count, found.seed)
    print(json.dumps({"soak": "host_clients", "seed": found.seed, "s": round(time.monotonic() - began), **table}))
    return int(bool(table["leaks"] or table["left"]))
