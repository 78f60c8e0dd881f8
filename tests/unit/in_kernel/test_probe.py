"""The probe says which walls this machine gives, from having tried them."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from rlm_kernel_mcp.in_kernel.probe import TRIALS, _tried, tier
from rlm_kernel_mcp.in_kernel.walls import namespaces
from rlm_kernel_mcp.in_kernel.walls.plan import REMEDIES, WALLS, WallStatus
from tests.parts import ROOT

POLICY = ROOT / "kernelspecs" / "rlm-python" / "policy.json"
SECONDS = 60


def test_the_program_prints_a_row_for_every_wall_and_the_tier() -> None:
    """One JSON object and nothing else; this machine has every wall, but perhaps no namespaces."""
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); from rlm_kernel_mcp.in_kernel.probe import main; main()"
    program = [sys.executable, "-I", "-c", run, str(ROOT), "--policy", str(POLICY)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=SECONDS, check=True)
    report = json.loads(done.stdout)
    missing = {"namespaces", "scratch_quota"} if namespaces.refusal() else set()
    assert [row["name"] for row in report["walls"]] == list(WALLS)
    assert {row["name"] for row in report["walls"] if not row["holds"]} == missing
    assert report["tier"] == ("lock" if missing else "ns")
    assert report["mapping"] == ""
    assert (report["arch"], report["kernel_release"]) == (platform.machine(), platform.release())


@pytest.mark.parametrize("wall", sorted(TRIALS.keys() - {"rlimits"}))
def test_a_wall_that_stands_but_lets_something_through_does_not_hold(tmp_path: Path, wall: str) -> None:
    """This process has no walls, so every trial gets through here."""
    row = _tried(WallStatus(wall, True, "as raised"), tmp_path)
    assert not row.holds
    assert row.detail.startswith("raised, but ")
    assert row.remedy == REMEDIES[wall]


@pytest.mark.parametrize(
    ("holding", "expected"),
    [
        (WALLS, "ns"),
        (("landlock", "seccomp"), "lock"),
        (("namespaces", "seccomp"), "ns"),
        (("namespaces", "landlock"), "none"),
        (("rlimits", "no_new_privs"), "none"),
    ],
)
def test_a_tier_needs_files_and_calls_confined(holding: tuple[str, ...], expected: str) -> None:
    """Each layer alone lets something through."""
    assert tier([WallStatus(name, name in holding, "") for name in WALLS]) == expected
