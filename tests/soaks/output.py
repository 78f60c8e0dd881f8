"""Honest output arrives whole, or the reply says how much was dropped: also of a server that is stopped in the middle.

Is: one real server over its stdio; steps that print in many ways while the server is stopped by SIGSTOP at drawn
moments, a value read each time it goes on; and one step of 4,000,000 flushes. Is not: attacks on the host by output
(`bench/`).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from bench.progress import told
from rlm_kernel_mcp.store.store import Store
from tests.mcp.line_client import LineClient
from tests.soaks.calls import serving

STOP_S: Final = 2.5
LOOK_S: Final = 0.2
FLUSHES: Final = 4_000_000
LINES: Final = 20_000
MEMORY_MB: Final = 512
DROPPED: Final = re.compile(
    r"\n\[([\d,]+) characters of std\w+ were dropped here; ([\d,]+) before and ([\d,]+) after were kept\]\n"
)

WAYS: Final = {
    "flushed lines": "for i in range({lines}): print(i, flush=True)",
    "lines": "for i in range({lines}): print(i)\ntime.sleep(0.3)",
    "long lines": "for i in range({lines} // 20): print(str(i) * 2_000, flush=i % 7 == 0)",
    "of a thread": (
        "def say():\n    for i in range({lines}): print(i, flush=True)\n"
        "thread = threading.Thread(target=say); thread.start(); thread.join()"
    ),
    "on both streams": "for i in range({lines}): print(i, flush=True, file=(sys.stdout, sys.stderr)[i % 2])",
}


def printed(way: str, lines: int) -> tuple[str, str]:
    """What a step of that kind prints to stdout and stderr."""
    if way == "long lines":
        return "".join(f"{str(i) * 2_000}\n" for i in range(lines // 20)), ""
    if way == "on both streams":
        return tuple("".join(f"{i}\n" for i in range(start, lines, 2)) for start in (0, 1))  # type: ignore[return-value]
    return "".join(f"{i}\n" for i in range(lines)), ""


class Output:
    """One run."""

    def __init__(self, client: LineClient, rng: random.Random, say: Callable[[str], None]) -> None:
        self.client = client
        self.random = rng
        self.say = say
        self.store = Store.open(Path(client.env["RLM_STATE_DIR"]))
        self.session_id = client.open_session(budget_limit=100_000_000, max_steps=10_000, max_runtime_ms=3_600_000)
        client.run(self.session_id, "import time, threading, sys")
        self.slowest_read_ms = 0
        self.stops = self.reads_during_output = 0
        self.lost: list[str] = []

    def step(self, code: str, during: Callable[[int], None]) -> tuple[dict[str, Any], str, str]:
        """Run a step; `during`: called while it runs, with the request's id. Returns the reply and its whole output."""
        request = self.client.begin(
            "rlm_run_repl",
            {"session_id": self.session_id, "code": code, "wait_ms": 50_000, "timeout_ms": 300_000},
        )
        during(request)
        report = self.client.result(request)["structuredContent"]["data"]
        while report["status"] == "running":
            again = {"session_id": self.session_id, "step_index": report["step_index"], "wait_ms": 50_000}
            report = self.client.data("rlm_await_step", **again)
        (row,) = (row for row in self.store.events(self.session_id, report["step_index"], report["step_index"]))
        self.client.seen.clear()
        return report, row.stdout or "", row.stderr or ""

    def stop_and_read(self, request: int, stop_s: float) -> None:
        """Stop the server; a read that was asked for meanwhile is answered when it goes on."""
        self.client.process.send_signal(signal.SIGSTOP)
        signal.sigtimedwait([], stop_s)
        read = self.client.begin("rlm_get_var", {"session_id": self.session_id, "var_name": "sys"})
        self.client.process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        result = self.client.result(read)
        if result.get("isError"):
            self.lost.append(f"a read was refused: {result['structuredContent']}")
        self.slowest_read_ms = max(self.slowest_read_ms, round((time.monotonic() - began) * 1000))
        self.reads_during_output += not any(message.get("id") == request for message in self.client.seen)
        self.stops += 1

    def one(self, way: str, lines: int, stops: Sequence[tuple[float, float]]) -> None:
        """A step that prints so many lines. `stops`: each after so many seconds, for so many."""

        def during(request: int) -> None:
            for after_s, stop_s in stops:
                signal.sigtimedwait([], after_s)
                self.stop_and_read(request, stop_s)

        report, *streams = self.step(WAYS[way].format(lines=lines), during)
        whole = report["status"] == "ok"
        for stream, expected in zip(streams, printed(way, lines), strict=True):
            whole &= self.accounts_for(stream, expected)
        if not whole:
            self.lost.append(
                f"{way}, {lines} lines, stops {stops}: {report['status']}, {[len(one) for one in streams]}"
            )

    @staticmethod
    def accounts_for(stream: str, expected: str) -> bool:
        """Whether it is all there, or says what is not."""
        if stream == expected:
            return True
        found = DROPPED.search(stream)
        if found is None:
            return False
        dropped, before, after = (int(number.replace(",", "")) for number in found.groups())
        head, tail = stream[: found.start()], stream[found.end() :]
        return (
            (len(head), len(tail)) == (before, after)
            and before + dropped + after == len(expected)
            and expected.startswith(head)
            and expected.endswith(tail)
        )

    def many_flushes(self, count: int) -> dict[str, Any]:
        """One step of so many flushes of one character; what its kernel takes beside."""
        record = self.store.session(self.session_id)
        assert record is not None
        kernel = psutil.Process(record.kernel_pid)
        before, most, began = kernel.memory_info().rss, 0, time.monotonic()

        def during(request: int) -> None:
            nonlocal most
            while not any(message.get("id") == request for message in self.client.seen):
                most = max(most, kernel.memory_info().rss - before)
                self.client.data("rlm_get_var", session_id=self.session_id, var_name="sys")
                signal.sigtimedwait([], LOOK_S)

        code = f"for i in range({count}): print('x', end='', flush=True)"
        report, stdout, _ = self.step(code, during)
        if report["status"] != "ok" or not self.accounts_for(stdout, "x" * count):
            self.lost.append(f"{count} flushes: {report['status']}, {len(stdout)} characters")
        if most >= MEMORY_MB << 20:
            self.lost.append(f"{count} flushes took {most >> 20} MB of the kernel")
        return {
            "flushes": count,
            "characters kept": len(stdout),
            "s": round(time.monotonic() - began),
            "kernel before, MB": before >> 20,
            "more at most, KB": most >> 10,
        }


def run(directory: Path, count: int, seed: int, flushes: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it: what was lost without a word, first of all."""
    (directory / "server").mkdir(parents=True)
    client = LineClient(directory / "server", {"RLM_MEMORY_LIMIT_MB": str(MEMORY_MB)})
    with serving(client):
        client.initialize()
        output = Output(client, random.Random(seed), say)
        output.one("flushed lines", LINES, [(0.2, STOP_S)])
        say(f"{LINES:,} flushed lines, the server stopped for {STOP_S} s: lost {output.lost}")
        for number in told(range(count), count, "steps"):
            way = output.random.choice(sorted(WAYS))
            stops = [(output.random.random(), STOP_S * output.random.random() ** 2) for _ in range(1 + number % 3)]
            output.one(way, output.random.randrange(1_000, LINES), stops)
        say(f"{count} steps, {output.stops} stops, slowest read {output.slowest_read_ms} ms: lost {output.lost}")
        many = output.many_flushes(flushes)
        say(f"{json.dumps(many)}: lost {output.lost}")
        client.data("rlm_finalize", session_id=output.session_id, final_text="done")
        output.store.close()
        assert client.end() == 0
    return {
        "lost": output.lost,
        "steps": count + 2,
        "stops": output.stops,
        "reads while a step printed": output.reads_during_output,
        "slowest read, ms": output.slowest_read_ms,
        "one step of many flushes": many,
    }


def main(argv: Sequence[str]) -> int:
    """`bin/soak output`."""
    parser = argparse.ArgumentParser(
        prog="bin/soak output", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--count", type=int, default=40, help="steps in which the server is stopped (default: 40)")
    parser.add_argument("--flushes", type=int, default=FLUSHES, help="of one step (default: 4,000,000)")
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        table = run(Path(directory), found.count, found.seed, found.flushes, lambda line: print(line, flush=True))
    print(json.dumps({"soak": "output", "seed": found.seed, "s": round(time.monotonic() - began), **table}))
    return int(bool(table["lost"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
