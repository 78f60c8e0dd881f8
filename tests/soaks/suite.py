"""Runs the suite again and again, as a person does: a test that fails without a change of code is a defect.

`bin/soak suite --count 10`. Is: `bin/test` in a process of its own each time. Tells each run's seconds, how many tests
passed and the names of those that did not, and at the end one line of JSON; all of it as it comes, on stdout and in
`bench/soak/suite.txt`. Is not: a way to have a test run until it passes: one failure fails the whole.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.progress import told
from tests.parts import ROOT

RESULTS: Final = ROOT / "bench" / "soak" / "suite.txt"
RUN_MINUTES_MAX: Final = 60
"""A run that takes longer is ended, and counts as failed."""
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
"""In pytest's short summary; of a test without its reason."""
PASSED: Final = re.compile(r"\b(\d+) passed\b")


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run."""

    seconds: float
    passed: int
    failed: tuple[str, ...]
    """Names of tests, or why the run ended without one."""


def read_run(seconds: float, output: str, status: int | None) -> Run:
    """What a run's output and exit status say of it; `None`: it had to be ended."""
    failed = dict.fromkeys(FAILED.findall(output))
    if status != 0 and not failed:
        why = f"exit status {status}" if status is not None else f"not at its end after {RUN_MINUTES_MAX} minutes"
        failed = {f"bin/test itself: {why}": None}
    return Run(seconds, sum(map(int, PASSED.findall(output)[-1:])), tuple(failed))


def run_suite(arguments: Sequence[str], log: Path) -> Run:
    """Run `bin/test` once; its output goes to a file."""
    began = time.monotonic()
    with log.open("wb") as output:
        suite = subprocess.Popen(
            [ROOT / "bin" / "test", *arguments], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status: int | None = suite.wait(RUN_MINUTES_MAX * 60)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if suite.poll() is None:
                os.killpg(suite.pid, signal.SIGKILL)
                suite.wait()
    return read_run(time.monotonic() - began, log.read_text(encoding="utf-8", errors="replace"), status)


def repeat(one_run: Callable[[int], Run], count: int, results: Path, about: str) -> bool:
    """Run so often, and tell it on stdout and in the file; returns whether all were green, with as many tests each."""
    runs: list[Run] = []
    with results.open("w", encoding="utf-8") as file:

        def tell(line: str) -> None:
            print(line, flush=True)
            print(line, file=file, flush=True)

        tell(about)
        for number in told(range(1, count + 1), count, "runs"):
            runs.append(one_run(number))
            last = runs[-1]
            tell(f"run {number}: {last.seconds:.0f} s, {last.passed} passed, {len(last.failed)} failed")
            for name in last.failed:
                tell(f"    {name}")
        failures = Counter(name for run in runs for name in run.failed)
        sums = {
            "soak": "suite",
            "runs": len(runs),
            "green": sum(not run.failed for run in runs),
            "passed": sorted({run.passed for run in runs}),
            "seconds": [round(run.seconds) for run in runs],
            "failures": dict(failures),
        }
        tell(json.dumps(sums))
    return not failures and len({run.passed for run in runs}) == 1 and runs[0].passed > 0


def main(argv: Sequence[str]) -> int:
    """Exit status 0: every run passed, and all of them the same number of tests."""
    parser = argparse.ArgumentParser(prog="bin/soak suite", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10, help="runs, one after the other (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="no chance is in it: taken, as by every soak, and not used")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where it is told, too (bench/soak/suite.txt)")
    parser.add_argument("arguments", nargs="*", help="for bin/test, after -- (default: none: the whole fast part)")
    options = parser.parse_args(argv)
    logs = Path(tempfile.mkdtemp(prefix="rlm-suite-"))
    tree = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    about = (
        f"bin/soak suite {' '.join(argv)}  ({time.strftime('%Y-%m-%d')}, tree {tree.stdout.strip() or 'unknown'}, "
        f"{len(os.sched_getaffinity(0))} cores, Linux {platform.release()}); what the runs printed: {logs}"
    )
    green = repeat(
        lambda number: run_suite(options.arguments, logs / f"{number}.log"), options.count, options.results, about
    )
    return int(not green)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
