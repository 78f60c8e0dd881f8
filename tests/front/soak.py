"""Hosts in quantity: met at the edge of their end.

Is: `bin/soak hosts`, with counts and a seed; the tests beside it try each once. Is not: hosts that are killed, and
clients that come and go (`tests/soaks/hosts/`), or attacks (`tests/escape/front/`).
"""

from __future__ import annotations

import argparse
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from tests.front.hosts import HERE
from tests.soaks.hosts.kills import hosts_of


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


KINDS: Final[dict[str, Callable[[int, random.Random], Counter[str]]]] = {
    "edges": edges,
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
