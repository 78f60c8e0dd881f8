"""`bin/demo --cluster`: 200 sessions on three nodes of Ray, one of which is killed while they work.

Is: sessions with a text each, of which the answer is counted as the text is made; the kill of a node, its Ray and its
host both, by `kill -9`; and what was lost by it. Is not: how a cluster is begun (`rlm-kernel-mcp cluster up`), which
this does as that does. Above: `__main__.py`. Below: `rlm_kernel_mcp/`.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rlm_kernel_mcp.api import Session, Sessions
from rlm_kernel_mcp.cluster.asked import Facts
from rlm_kernel_mcp.cluster.place import BESIDE, leave
from rlm_kernel_mcp.commands.clustering.looks import table
from rlm_kernel_mcp.commands.clustering.up import free_mb, here, put
from rlm_kernel_mcp.commands.showing.progress import draw, line
from rlm_kernel_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from rlm_kernel_mcp.cluster.ray_actors import LocalCluster

SESSIONS: Final = 200
LIVE: Final = 60
NODES: Final = 3
NODE_MB: Final = 6_000
"""So that two have room for all: a session counts with its limit, and takes a sixth of that."""
STORE_MB: Final = 80
LIMIT_MB: Final = 128
NEEDED_MB: Final = 8 * 1024
PARTS: Final = 6
"""Steps of a session beside its first."""
LINES: Final = 240
WORDS: Final = ("timeout", "retry", "ok", "ok", "ok", "slow", "refused")
FIRST: Final = f"lines = context.splitlines(); done = 0; counted = {{}}; part = len(lines) // {PARTS}"
STEP: Final = """
for line in lines[{at} * part:({at} + 1) * part]:
    word = line.split()[1]
    counted[word] = counted.get(word, 0) + 1
done = {at} + 1
"""


@dataclass(slots=True)
class Seen:
    """What the program was told, over all sessions."""

    acknowledged: int = 0
    unknown: int = 0
    """Steps that were in flight on the node that died."""
    again: int = 0
    """Those of them that had not been run, which this program ran again by itself."""
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **more: int) -> None:
        with self.lock:
            for name, count in more.items():
                setattr(self, name, getattr(self, name) + count)


def main() -> int:
    """Returns the exit status: 0 where every answer is right and nothing was lost."""
    if (free := free_mb()) < NEEDED_MB:
        print(
            f"bin/demo --cluster needs {NEEDED_MB:,} MB of free memory, and {free:,} MB are free here. Close "
            "something, or try `rlm-kernel-mcp cluster up --nodes 2` with fewer sessions.",
            file=sys.stderr,
        )
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="rlm-demo-") as state:
            return _demo(Path(state))
    except InvalidInput as error:
        print(f"bin/demo --cluster: {error.message}\n{error.next_step}", file=sys.stderr)
        return 2


def _demo(state: Path) -> int:
    settings = {"RLM_STATE_DIR": str(state), "RLM_MEMORY_LIMIT_MB": str(LIMIT_MB), "RLM_MAX_SESSIONS": "64"}
    os.environ.update(settings)
    logging.disable(logging.WARNING)  # sessions that move are what this is about
    facts = Facts.of_environ(settings, str(state / BESIDE / "store"), is_one_machine=True)
    print(f"{SESSIONS} sessions, {LIVE} at a time, on {NODES} nodes of Ray on this machine; one of them is killed.\n")
    with here(state, NODES, NODE_MB, STORE_MB) as local:
        _, looks, _ = put(local.place, facts)
        table(looks)
        leave(state, local.place)
        hosts = {look.name: look.load.pid for look in looks if look.load is not None}
        seen, killed = Seen(), ""
        begun = time.monotonic()
        with Sessions(cluster="auto") as sessions, ThreadPoolExecutor(LIVE) as pool:
            working = [pool.submit(_one, sessions, number, seen) for number in range(SESSIONS)]
            for done, one in enumerate(as_completed(working), 1):
                one.result()
                if done >= SESSIONS // 3 and not killed:
                    killed = _kill(local, hosts)
                if sys.stderr.isatty():
                    draw(line("sessions", done, SESSIONS, time.monotonic() - begun))
    if sys.stderr.isatty():
        draw("")
    return _say(seen, killed, time.monotonic() - begun)


def _kill(local: LocalCluster, hosts: Mapping[str, int]) -> str:
    """The whole of a node at once, as when its machine loses its power."""
    name = max(hosts)
    for pid in [*local.processes(name), hosts[name]]:
        os.kill(pid, signal.SIGKILL)
    return name


def _one(sessions: Sessions, number: int, seen: Seen) -> None:
    """One session: its text is counted part by part, a step each."""
    text, truth = _text(number)
    with sessions.open(context_text=text) as session:
        _step(session, FIRST, 0, seen)
        for at in range(PARTS):
            _step(session, STEP.format(at=at), at + 1, seen)
        done, counted = session.get("done"), session.get("counted")
    if counted != truth:
        seen.wrong.append(f"session {number} counted {json.dumps(counted)}, the truth is {json.dumps(truth)}")
    if done != PARTS:
        seen.lost.append(f"session {number} has {done} of {PARTS} steps")


def _step(session: Session, code: str, number: int, seen: Seen) -> None:
    """A step, and what this program does where nobody knows whether it was run: it looks, and decides."""
    report = session.run(code)
    while report.status == "unknown":
        seen.add(unknown=1)
        if number and session.get("done") == number:
            break
        seen.add(again=1)
        report = session.run(code)
    if report.status not in ("ok", "unknown"):
        seen.lost.append(f"a step ended as {report.status}: {report.error}")
    if report.lost is not None and report.lost.names:
        seen.lost.append(f"the names {', '.join(name for name, _ in report.lost.names)}")
    seen.add(acknowledged=report.status == "ok")


def _text(number: int) -> tuple[str, dict[str, int]]:
    """A text of its own, and how often each word is in it."""
    rng = random.Random(number)  # noqa: S311 (a text, and no secret)
    words = [rng.choice(WORDS) for _ in range(LINES)]
    lines = [f"{at:04} {word} request {rng.randrange(10**6)}" for at, word in enumerate(words)]
    return "\n".join(lines), {word: words.count(word) for word in dict.fromkeys(words)}


def _say(seen: Seen, killed: str, took_s: float) -> int:
    print(f"{SESSIONS} sessions in {took_s:.0f} s; {killed} was killed (kill -9 of its Ray and its host) meanwhile.")
    print(
        f"steps acknowledged: {seen.acknowledged:,}; in flight as the node died, and told as `unknown`: {seen.unknown},"
    )
    print(f"of which this program, having looked, ran {seen.again} again; nobody else runs a step twice")
    for problem in [*seen.wrong, *seen.lost]:
        print(f"MISMATCH: {problem}", file=sys.stderr)
    print(f"answers that are right: {SESSIONS - len(seen.wrong)} of {SESSIONS}")
    print(f"lost: {'nothing' if not seen.lost else len(seen.lost)}")
    return 1 if seen.wrong or seen.lost else 0
