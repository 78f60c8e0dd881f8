"""`cluster up`, `status` and `drain` on a real Ray of three nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.cluster.keeper import NODES, Keeper
from tests.parts import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
OTHER: str = "a" * 64
"""A token that nobody has given out."""


def run(keeper: Keeper, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The real command line."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RLM_"))}
    argv = [sys.executable, "-m", "rlm_kernel_mcp", "cluster", *arguments]
    return subprocess.run(
        argv, cwd=ROOT, env=clean | keeper.env | env, capture_output=True, text=True, timeout=120, check=False
    )


def test_status_says_how_each_node_is(keeper: Keeper) -> None:
    done = run(keeper, "status", "--json")
    assert done.returncode == 0, done.stderr
    said: Mapping[str, Any] = json.loads(done.stdout)
    assert len(said["nodes"]) >= NODES
    assert all(node["load"]["tier"] for node in said["nodes"] if node["load"] is not None)
    table = run(keeper, "status").stdout
    assert all(node["node"] in table for node in said["nodes"])


def test_a_wrong_token_is_refused(keeper: Keeper) -> None:
    done = run(keeper, "status", RAY_AUTH_TOKEN=OTHER)
    assert done.returncode == 2, done.stderr
    assert "does not take this token" in done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert done.stdout == ""


def test_a_node_that_there_is_not_cannot_be_drained(keeper: Keeper) -> None:
    done = run(keeper, "drain", "node-99")
    assert done.returncode == 2
    assert "There is no node 'node-99'; there are: node-" in done.stderr


def test_nodes_stay_where_another_command_puts_them_once_more(keeper: Keeper) -> None:
    """Each keeps its process, and so its sessions."""
    before = {node["node"]: node["load"]["pid"] for node in json.loads(run(keeper, "status", "--json").stdout)["nodes"]}
    store = str(keeper.state_dir / "cluster" / "store")
    done = run(keeper, "up", "--address", keeper.address, "--store", store, "--json")
    assert done.returncode == 0, done.stderr
    assert {node["node"]: node["load"]["pid"] for node in json.loads(done.stdout)["nodes"]} == before


def test_nodes_are_put_nowhere_without_a_store(keeper: Keeper) -> None:
    done = run(keeper, "up", "--address", keeper.address)
    assert done.returncode == 2
    assert "RLM_CLUSTER_STORE is not set" in done.stderr
