"""Watchers that come and go at one host, one after the other and all at once: it then has what it had before.

`bin/soak host_watchers --count 1000`. Is: so many that come, watch and go in every way in which one can, while steps
run; so many at the same time, of whom `WATCHERS_MAX` may watch and all others are told why not; and a look from outside
at what the host has (`held.py`). Is not: clients (`clients.py`), nor what a watcher is told
(`tests/unit/session/watching/`).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from rlm_kernel_mcp.doors.knocking import knock
from rlm_kernel_mcp.front.front import PROOF_NAME, WORD, NoHost
from rlm_kernel_mcp.session.watching.feeds import WATCHERS_MAX
from tests.front.hosts import HERE, Hosts
from tests.mcp.line_client import WAIT_S
from tests.soaks.hosts.held import at_rest, is_no_more
from tests.soaks.hosts.kills import hosts_of
from tests.soaks.hosts.left import Left

AT_A_TIME: Final = 32
"""In their handshakes at the same time: of more than twice as many the oldest would have to make room. And so many
threads of the pool that looks at peers may be needed at once in one run, and not in what went before it."""
STEP_EACH: Final = 25
EVENT_BYTES: Final = 1 << 18
FLOOD: Final = "for _ in range(30): print('x' * 10_000)"
TOLD_WHY: Final = f"the host has {WATCHERS_MAX} connections of this kind, and serves no more at a time"


class Watchers:
    """One run."""

    def __init__(self, hosts: Hosts, chance: random.Random) -> None:
        self.random = chance
        self.told: Counter[str] = Counter()
        self._ends: tuple[Callable[[socket.socket], None], ...] = (
            self.leaves_what_it_was_told_unread,
            self.hears_and_leaves,
            self.says_something,
        )
        self.stays = hosts.client("stays")
        self.stays.initialize()
        (self.pid,) = hosts.everyone()
        self.session_id = self.stays.open_session("some text", budget_limit=1_000_000_000, max_steps=1_000_000)
        self._place = hosts.place
        self._proof = os.open(f"{self._place.state}/{PROOF_NAME}", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._proof)

    def comes(self) -> socket.socket | str:
        """One more: its connection, or what it is told."""
        try:
            found = knock(copy.copy(self._place), "watch", [self.session_id], [self._proof], WAIT_S)
        except NoHost as refusal:
            return str(refusal)
        assert found is not None, "no host is there"
        found[0].send(WORD + b"\0go")
        return found[0]

    def one_after_the_other(self, count: int) -> None:
        """Each while nobody else watches; those that are cut off in their handshake among them."""
        for number in range(count):
            if number % STEP_EACH == 0:
                self.cut_off()
            watcher = self.comes()
            assert isinstance(watcher, socket.socket), watcher
            if number % STEP_EACH == 0:
                with watcher:
                    self._step("print(1)")
                    self._hear(watcher, "step")
                self.told["heard a step"] += 1
            else:
                self._goes(watcher)

    def at_once(self, count: int) -> None:
        """As many as may watch, who all are told of a step that floods them; and each of the others knows why not."""
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            came = [*pool.map(lambda _number: self.comes(), range(count))]
        here = [one for one in came if isinstance(one, socket.socket)]
        refused = [one for one in came if isinstance(one, str)]
        assert len(here) == WATCHERS_MAX, f"{len(here)} watch"
        assert all(why.startswith(TOLD_WHY) for why in refused), set(refused)
        self.told["refused in words"] += len(refused)
        self._step(FLOOD)
        self.random.shuffle(here)
        for watcher in here:
            self._goes(watcher)

    def _step(self, code: str) -> None:
        assert self.stays.run(self.session_id, code)["status"] == "ok"
        self.stays.seen.clear()

    def _goes(self, watcher: socket.socket) -> None:
        end = self.random.choice(self._ends)
        with watcher:
            end(watcher)
        self.told[end.__name__.replace("_", " ")] += 1

    def _hear(self, watcher: socket.socket, kind: str) -> None:
        """Return when it is told of that."""
        while (data := watcher.recv(EVENT_BYTES)) and json.loads(data)["type"] != kind:
            continue
        assert data, f"it was sent away before it was told of {kind!r}"

    def cut_off(self) -> None:
        """One that goes as soon as it is there, and one that goes before it is looked at."""
        for said in ([], [b"\0".join((WORD, b"hello", b"0"))]):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
                peer.connect(self._place.socket)
                for data in said:
                    peer.send(data)
            self.told["cut off in its handshake"] += 1

    def leaves_what_it_was_told_unread(self, watcher: socket.socket) -> None:
        """It goes without a look."""

    def hears_and_leaves(self, watcher: socket.socket) -> None:
        """It goes once it has heard that it watches."""
        self._hear(watcher, "watching")

    def says_something(self, watcher: socket.socket) -> None:
        """It is sent away: nothing that it says is read."""
        watcher.send(b"rm -rf /")
        with suppress(ConnectionResetError):
            while watcher.recv(EVENT_BYTES):
                continue


def run(count: int, seed: int) -> dict[str, Any]:
    """A tenth of them first, so that what is made once has been made; then all, one by one, and all at once."""
    with hosts_of(1) as hosts:
        left = Left(hosts)
        watchers = Watchers(hosts, random.Random(seed))
        watchers.one_after_the_other(count // 10)
        watchers.at_once(2 * WATCHERS_MAX)
        before = at_rest(watchers.pid, watchers.stays)
        watchers.told.clear()
        watchers.one_after_the_other(count)
        watchers.at_once(max(count, 2 * WATCHERS_MAX))
        after = at_rest(watchers.pid, watchers.stays, before, AT_A_TIME)
        left.look()
        assert hosts.everyone() == [watchers.pid], hosts.log()
        assert watchers.stays.run(watchers.session_id, "6 * 7")["result"] == "42"
        watchers.stays.data("rlm_finalize", session_id=watchers.session_id, final_text="done")
        assert watchers.stays.end() == 0
        assert HERE not in watchers.stays.log.read_text(encoding="utf-8")
        watchers.close()
        hosts.wait_for_end(watchers.pid)
        return {
            "leaks": [] if is_no_more(after, before, AT_A_TIME) else ["what the host has"],
            "left": left.at_the_end(),
            "before": asdict(before),
            "after": asdict(after),
            **dict(sorted(watchers.told.items())),
        }


def main(argv: Sequence[str]) -> int:
    """`bin/soak host_watchers`."""
    parser = argparse.ArgumentParser(prog="bin/soak host_watchers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000, help="watchers, in each of the two ways (default: 1,000)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: 1)")
    found = parser.parse_args(argv)
    began = time.monotonic()
    table = run(found.count, found.seed)
    print(json.dumps({"soak": "host_watchers", "seed": found.seed, "s": round(time.monotonic() - began), **table}))
    return int(bool(table["leaks"] or table["left"]))
