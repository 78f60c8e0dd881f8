"""How a cluster of this machine ends: by Ctrl-C or SIGTERM alike, whatever Ray has made of the signal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlm_kernel_mcp.cluster.place import ClusterPlace, found_place
from rlm_kernel_mcp.commands.clustering import up
from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.settings import load_settings

PLACE = ClusterPlace("127.0.0.1:6379", "/token")


class Local:
    place = PLACE


def stopped() -> None:
    """The handler runs in this very call."""
    os.kill(os.getpid(), signal.SIGTERM)


def ended(monkeypatch: pytest.MonkeyPatch, state: Path, beginning: Callable[[], object]) -> list[str]:
    """What is ended of a cluster that `beginning` begins, and which SIGTERM ends where it is waited for."""
    told = list[str]()

    @contextmanager
    def here(*_: object) -> Iterator[Local]:
        try:
            beginning()
            yield Local()
        finally:
            told.append("Ray has ended")

    def begun(*_: object, **__: object) -> int:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray's own does
        return 0

    monkeypatch.setattr(up, "require_ray", lambda: None)
    monkeypatch.setattr(up, "here", here)
    monkeypatch.setattr(up, "_begun", begun)
    monkeypatch.setattr(signal, "pause", stopped)
    environ = {"HOME": str(state), "RLM_STATE_DIR": str(state)}
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            up.up(load_settings(state, environ), environ, up.Wanted(memory_mb=128), as_json=True)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    return told


def test_a_cluster_that_is_there_ends_by_sigterm_as_by_ctrl_c_and_nobody_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert ended(monkeypatch, tmp_path, lambda: None) == ["Ray has ended"]
    with pytest.raises(InvalidInput):
        found_place("auto", {}, tmp_path)


def test_a_cluster_that_just_begins_ends_by_it_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert ended(monkeypatch, tmp_path, stopped) == ["Ray has ended"]
