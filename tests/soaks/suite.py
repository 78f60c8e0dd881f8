"""Runs the suite again and again, as a person does: a test that fails without a change of code is a defect.

`bin/soak suite --count 10`. Is: `bin/test` in a process of its own each time. Prints each run's minutes, how many tests
passed and the names of those that did not, and at the end one line of JSON. Is not: a way to have a test run until it
passes: one failure fails the whole.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.parts import ROOT

RUN_MINUTES_MAX: Final = 60
"""A run that takes longer is ended, and counts as failed."""
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
"""In pytest's short summary; of a test without its reason."""
PASSED: Final = re.compile(r"\b(\d+) passed\b")


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run."""

    minutes: float
    passed: int
    failed: tuple[str, ...]
    """Names of tests, or why the run ended without one."""


def read_run(minutes: float, output: str, status: int | None) -> Run:
    """What a run's output and exit status say of it; `None`: it had to be ended."""
    failed = dict.fromkeys(FAILED.findall(output))
    if status != 0 and not failed:
        why = f"exit status {status}" if status is not None else f"not at its end after {RUN_MINUTES_MAX} minutes"
        failed = {f"bin/test itself: {why}": None}
    return Run(minutes, sum(map(int, PASSED.findall(output)[-1:])), tuple(failed))


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
    return read_run((time.monotonic() - began) / 60, log.read_text(encoding="utf-8", errors="replace"), status)


def main(argv: Sequence[str]) -> int:
    """Exit status 0: every run passed, and all of them the same number of tests."""
    parser = argparse.ArgumentParser(prog="bin/soak suite", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10, help="runs, one after the other (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="no chance is in it: taken, as by every soak, and not used")
    parser.add_argument("arguments", nargs="*", help="for bin/test, after -- (default: none: the whole fast part)")
    options = parser.parse_args(argv)
    logs = Path(tempfile.mkdtemp(prefix="rlm-suite-"))
    runs: list[Run] = []
    for number in range(1, options.count + 1):
        runs.append(run_suite(options.arguments, logs / f"{number}.log"))
        last = runs[-1]
        print(f"run {number}: {last.minutes:.1f} min, {last.passed} passed, {len(last.failed)} failed", flush=True)
        print("".join(f"    {name}\n" for name in last.failed), end="", flush=True)
    failures = Counter(name for run in runs for name in run.failed)
    print(f"what the runs printed: {logs}")
    print(
        json.dumps(
            {
                "soak": "suite",
                "runs": len(runs),
                "green": sum(not run.failed for run in runs),
                "passed": sorted({run.passed for run in runs}),
                "minutes": [round(run.minutes, 2) for run in runs],
                "failures": dict(failures),
            }
        )
    )
    return int(bool(failures) or len({run.passed for run in runs}) != 1 or not runs[0].passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
