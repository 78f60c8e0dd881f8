"""However a client ends: with its last step, and its host's, no process, socket or directory is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts import ROOT

PROGRAM = Path(__file__).parent / "program" / "leaving.py"


@pytest.mark.parametrize("host", ["auto", pytest.param("off", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("EOF", 0),
        pytest.param("SIGTERM", 0, marks=pytest.mark.slow),
        pytest.param("SIGKILL", -9, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_left_of_a_client_that_has_ended(short_dir: Path, host: str, way: str, status: int) -> None:
    """The count waits for the end of each process that came of it, and nothing but that."""
    done = subprocess.run(
        [sys.executable, PROGRAM, short_dir, way],
        env={**os.environ, "PYTHONPATH": str(ROOT), "RLM_HOST": host},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seen"]["processes"] >= 4 + (host == "auto")  # server, fork server, kernel, what cleans up
    assert told["seen"]["directories"] == 1
    assert told["seen"]["sockets"] > (host == "auto")  # the kernels have some
    assert (told["status"], told["left"]) == (status, [])
