"""A short form of `bin/soak questions`, in a process of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from tests.parts import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_nothing_is_paid_twice_lost_or_left_whatever_cuts_batches_off() -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    program = [sys.executable, "-m", "tests.soaks", "questions", "--count", "20", "--seed", str(seed)]
    ended = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"seed {seed}: {ended.stdout}{ended.stderr}"
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["questions"] > told["requests"] > 0
