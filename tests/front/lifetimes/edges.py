"""Clients that come as the host is just ending: each of them is served by a host, whichever.

Is: `bin/soak edges`, with a count and a seed; `test_lifetime.py` tries a few. Is not: hosts that are killed
(`tests/soaks/hosts/kills.py`).
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.front.hosts import HERE, Hosts
from tests.mcp.line_client import CLIENT, WAIT_S
from tests.parts import ROOT
from tests.soaks.hosts.kills import hosts_of
from tests.soaks.hosts.left import Left

AT_ONCE = (1, 1, 1, 2, 3)
"""How many come at an edge."""
BEFORE_S = 0.06
"""A front is at the door at most so long after it was started, on a machine with nothing else to do."""
AFTER_S = 0.4
"""A host takes about so long to end."""
LOOK_EACH, TELL_EACH = 10, 100


def edges(
    hosts: Hosts, count: int, chance: random.Random, tell: Callable[[int, Counter[str]], object] = lambda *_: None
) -> Counter[str]:
    """So many times: the only clients of a host end, which ends with them, and others come.

    `hosts`: of which each ends as soon as it has no client. `tell`: is called before each time.
    """
    told: Counter[str] = Counter()
    for turn in range(count):
        tell(turn, told)
        leaving, before = list(hosts.clients), set(hosts.everyone())
        hosts.clients.clear()
        names = [f"client{turn % 2}{one}" for one in range(chance.choice(AT_ONCE))]
        wait_s = chance.uniform(-BEFORE_S, chance.choice((0, AFTER_S)))
        asked = _come(hosts, names) if wait_s < 0 else []
        signal.sigtimedwait([], max(-wait_s, 0))
        for client in leaving:
            client.stdin.close()
        if wait_s >= 0:
            signal.sigtimedwait([], wait_s)
            asked = _come(hosts, names)
        for client, request in zip(hosts.clients, asked, strict=True):
            assert "result" in client.answer(request)
            said = client.log.read_text(encoding="utf-8")
            assert HERE not in said, f"{said}\n{hosts.log()}"
        for client in leaving:
            assert client.process.wait(WAIT_S) == 0
            client.stdout.close()
        told["clients"] += len(names)
        told["the host stayed" if hosts.pid() in before else "another host"] += 1
    for client in hosts.clients:
        assert client.end() == 0
    return told


def _come(hosts: Hosts, names: Sequence[str]) -> list[int]:
    """Clients that have said their first word, and what is to be answered."""
    return [hosts.client(name).send("initialize", CLIENT) for name in names]


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bin/soak edges", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="of edges (default: 1000)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of what is drawn at random")
    parser.add_argument("--places", type=int, default=1, help="so many at the same time have a part of them each")
    options = parser.parse_args(argv)
    if options.places > 1:
        return _parts(options.count, options.seed, options.places)
    began = time.monotonic()
    with hosts_of(0) as hosts:
        left = Left(hosts)

        def tell(turn: int, told: Counter[str]) -> None:
            if turn % LOOK_EACH == 0:
                left.look()
            if turn and turn % TELL_EACH == 0:
                print(f"{turn:,} of {options.count:,} edges, seed {options.seed}: {dict(told)}", flush=True)

        told = edges(hosts, options.count, random.Random(options.seed), tell)
        remains = left.at_the_end()
    print(f"{options.count:,} edges, seed {options.seed}, {time.monotonic() - began:.0f} s: none failed", flush=True)
    print(", ".join(f"{name}: {number:,}" for name, number in sorted(told.items())))
    print(f"left behind: {remains or 'nothing'}")
    return int(bool(remains))


def _parts(count: int, seed: int, places: int) -> int:
    """A part of the edges in each of several processes: what has lost its parent becomes the child of one."""
    counts = [count * (place + 1) // places - count * place // places for place in range(places)]
    argv = [sys.executable, "-m", "tests.soaks", "edges"]
    parts = [
        subprocess.Popen([*argv, "--count", str(one), "--seed", str(seed + place)], cwd=ROOT)
        for place, one in enumerate(counts)
    ]
    return max(part.wait() for part in parts)
