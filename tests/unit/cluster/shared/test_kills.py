"""A node that is killed at each line of the store: the next one has every step that was acknowledged."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT
from tests.unit.cluster.shared.dying import VALUE_BYTES
from tests.unit.cluster.shared.stores import opened, taken_over

LINES = {
    "before_write": 9,
    "written": 9,
    "synced": 9,
    "epoch_checked": 9,
    "acknowledged": 9,
    "clean_copied": 2,
    "clean_dropped": 2,
    "claim_linked": 1,
    "claim_sealed": 1,
    "claim_carried": 1,
    "claim_whole": 1,
}
"""And at which time of reaching it."""


def driven(where: Path, line: str, times: int) -> list[str]:
    """What a node says until it dies at a line."""
    program = [sys.executable, "-m", "tests.unit.cluster.shared.dying", str(where), line, str(times)]
    run = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    return run.stdout.split("\n")[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_a_node_that_dies_at_a_line_takes_nothing_along(line: str, tmp_path: Path) -> None:
    """Twice: a first node that has nothing to take over, and one that takes over from it."""
    said = driven(tmp_path / "store", "acknowledged", 6)
    acknowledged = len(said) - 1
    said = driven(tmp_path / "store", line, LINES[line])
    acknowledged = max([acknowledged, *(int(one.split()[1]) + 1 for one in said if one.startswith("ack"))])

    async def play() -> None:
        async with opened(tmp_path / "store") as store:
            newest = await store.newest("s_one")
            assert newest is not None
            found = await taken_over(store, newest.epoch + 1, "s_one")
            steps = len(found) - 1
            assert acknowledged <= steps <= acknowledged + 2  # each of the two may have had one under way
            assert [key for key in found if key != "value"] == [f"row:{step}" for step in range(steps)]
            assert found["value"] == (steps - 1).to_bytes(4, "little") * (VALUE_BYTES // 4)

    asyncio.run(play())
