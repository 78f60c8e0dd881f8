"""Short forms of the soaks of hosts, each in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from tests.parts import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("name", "count"), [("host_kills", 8), ("host_clients", 40), ("host_watchers", 100), ("leases", 10)]
)
def test_nothing_is_lost_or_left(name: str, count: int) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    program = [sys.executable, "-m", "tests.soaks", name, "--count", str(count), "--seed", str(seed)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"seed {seed}: {ended.stdout}{ended.stderr}"
    assert json.loads(ended.stdout.splitlines()[-1])["left"] == {}
