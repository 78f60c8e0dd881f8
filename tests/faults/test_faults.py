"""Faults at random, with a printed seed: 200 in CI, fewer on a person's machine (RLM_FAULTS says how many)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.disk import SmallDisk
from tests.faults.model import GONE, Model
from tests.parts import ROOT

FAULTS: Final = int(os.environ.get("RLM_FAULTS") or (200 if os.environ.get("CI") else 40))
AT_ONCE: Final = 2
ROUND: Final = 40
"""So many faults hold each of them."""
EVERY_FAULT: Final = {
    *("kernel_killed", "kernel_killed_between_steps", "kernel_killed_in_its_snapshot", "kernel_stopped"),
    *("step_that_cannot_be_stopped", "fork_server_killed", "call_cancelled", "garbage", "interrupted"),
    *("server_killed", "server_killed_in_a_snapshot", "server_ended", "input_closed", "output_closed", "two_servers"),
}
WAIT_S: Final = 600


@pytest.mark.slow
@pytest.mark.timeout(WAIT_S + 60)
def test_nothing_is_lost_without_a_word_whatever_is_killed_stopped_filled_or_closed(tmp_path: Path) -> None:
    """After each fault: replies well-formed, acknowledged steps written, no value wrong, no process left.

    `bin/soak faults COUNT --seed S` runs one again.
    """
    disk = SmallDisk.mount(tmp_path / "disk")
    full_disk = set() if disk is None else {"disk_full"}
    if disk is not None:
        disk.unmount()
    seed = time.time_ns() % 1_000_000
    print(f"{FAULTS} faults, seeds from {seed}")
    argv = (sys.executable, "-m", "tests.faults.soak", str(-(-FAULTS // AT_ONCE)))
    runs = [
        subprocess.Popen(
            [*argv, "--seed", str(seed + number)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for number in range(AT_ONCE)
    ]
    try:
        outputs = [run.communicate(timeout=WAIT_S)[0] for run in runs]
    finally:
        for run in runs:
            run.terminate()
    for run, output in zip(runs, outputs, strict=True):
        print(output)
        assert run.returncode == 0, output
        injected = json.loads(output.splitlines()[-1])["faults"]
        if FAULTS >= AT_ONCE * ROUND:
            assert EVERY_FAULT | full_disk == set(injected)


def report(index: int, status: str = "ok") -> dict[str, object]:
    return {"step_index": index, "status": status, "stdout": "", "truncated": {"stdout": 0}}


def test_the_model_holds_a_server_to_its_word() -> None:
    """A value may differ from the last acknowledged one only as far as a loss report says."""
    model = Model()
    model.step_done(report(1), {"x": 1, "y": 1, "z": 1})
    model.step_done(report(2), {"x": 2, "y": 2, "z": 2})
    model.told({"lost": [{"name": "x", "why": "restored as it was after step 1; later"}, {"name": "y", "why": "gone"}]})
    model.read("x", 1)
    model.read("y", GONE)
    with pytest.raises(AssertionError, match="z is 1 and should be 2"):
        model.read("z", 1)
    with pytest.raises(AssertionError, match="z is <deleted> and should be 2"):
        model.read("z", GONE)


def test_the_model_knows_what_nobody_can_know() -> None:
    """A step that was cut off may have done its work or not; whatever is read first holds from then on."""
    model = Model()
    model.step_done(report(1), {"x": 1})
    model.step_done(report(2, "kernel_died"), {"x": 2})
    model.read("x", 2)
    with pytest.raises(AssertionError):
        model.read("x", 1)
    model.step_done(report(3), {"x": 3})
    model.told({"lost": [{"name": "x", "why": "restored as it was after step 2; later"}]})
    model.read("x", 2)
