"""The end of a cluster that tests have: a node is killed or stopped whatever of it has ended by itself meanwhile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.cluster.keeper import Keeper

WAITS = (sys.executable, "-c", "input()")


@pytest.fixture
def lives() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def keeper(lives: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """One of a node whose first process has ended since it was looked for."""
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE) as ended:
        processes = [psutil.Process(ended.pid), psutil.Process(lives.pid)]
    found = object.__new__(Keeper)
    found.stopped = []
    monkeypatch.setattr(Keeper, "processes", lambda *_: processes)
    return found


def test_all_of_a_node_is_killed(keeper: Keeper, lives: subprocess.Popen[bytes]) -> None:
    keeper.kill(0)
    assert lives.wait(60) < 0


def test_all_of_a_node_is_stopped_and_goes_on(keeper: Keeper, lives: subprocess.Popen[bytes]) -> None:
    keeper.stop(0)
    assert keeper.stopped == [lives.pid]
    keeper.go_on()
    assert keeper.stopped == []
