"""The plan of a kernel's walls: what a policy and the paths become."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

import rlm_kernel_mcp
from rlm_kernel_mcp import policy, wire
from rlm_kernel_mcp.in_kernel.walls.plan import (
    READ_ONLY_SCRATCH,
    REMEDIES,
    WALLS,
    WallFailed,
    installation_paths,
    plan_from_policy,
)
from rlm_kernel_mcp.in_kernel.walls.raising import _COUNTED
from tests.parts import ROOT

POLICY: dict[str, Any] = json.loads((ROOT / "kernelspecs" / "rlm-python" / "policy.json").read_text("utf-8"))


def test_the_plan_is_the_policys_limits_and_the_kernels_paths(tmp_path: Path) -> None:
    """And its parent, whose end ends the kernel."""
    plan = plan_from_policy(POLICY, scratch=f"{tmp_path}/w", socket_dir=f"{tmp_path}/c", read_only=["/opt/extra"])
    assert plan.memory_mb == POLICY["limits"]["memory_mb"]
    assert plan.required == frozenset(POLICY["walls"]["required"])
    assert (plan.scratch, plan.socket_dir, plan.parent_pid) == (f"{tmp_path}/w", f"{tmp_path}/c", os.getppid())
    assert plan.read_only[-1] == "/opt/extra"


def test_libraries_that_are_imported_at_first_use_have_room_of_their_own_and_may_be_mapped(tmp_path: Path) -> None:
    """A policy that has none of that, as one from before there was any, gets neither."""
    places = {"scratch": f"{tmp_path}/w", "socket_dir": f"{tmp_path}/c"}
    assert not plan_from_policy(POLICY, **places).map_libraries
    data = json.loads((ROOT / "kernelspecs" / "rlm-python-data" / "policy.json").read_text("utf-8"))
    plan = plan_from_policy(data, **places)
    assert plan.map_libraries
    assert plan.memory_mb == data["limits"]["memory_mb"] + data["limits"]["libraries_mb"]


def test_the_two_kernelspecs_differ_in_libraries_alone() -> None:
    """What may be imported, when, its room, and how long the first start may take, which imports it all."""
    data = policy.load_policy(ROOT / "kernelspecs" / "rlm-python-data" / "policy.json")
    plain = policy.Policy.model_validate(POLICY)
    assert set(data.imports.modules) - set(plain.imports.modules) == set(data.imports.needed)
    assert set(data.imports.modules) >= set(plain.imports.modules)
    assert all(name.startswith("matplotlib.") for name in set(data.imports.preload) - set(plain.imports.preload))
    assert data.limits.model_copy(update={"libraries_mb": 0}) == plain.limits
    assert data.start_timeout_ms == 3 * plain.start_timeout_ms
    same = {"imports": plain.imports, "limits": plain.limits, "start_timeout_ms": plain.start_timeout_ms}
    assert data.model_copy(update=same) == plain


@pytest.mark.parametrize("wrong", ["relative/path", ""])
def test_a_path_that_is_not_absolute_is_refused(tmp_path: Path, wrong: str) -> None:
    """It would mean another directory once the working directory changes."""
    with pytest.raises(WallFailed, match="not absolute"):
        plan_from_policy(POLICY, scratch=wrong, socket_dir=str(tmp_path))


def test_a_sockets_folder_inside_the_scratch_folder_is_refused(tmp_path: Path) -> None:
    """The tmpfs on the scratch directory would cover it, or user code could write in it."""
    with pytest.raises(WallFailed, match="inside the scratch directory"):
        plan_from_policy(POLICY, scratch=str(tmp_path), socket_dir=str(tmp_path / "c"))


def test_a_kernel_reads_python_and_this_package_and_no_home_folder() -> None:
    """An installation below a home directory shows its libraries only."""
    paths = [Path(path) for path in installation_paths()]
    needed = (os.__file__, rlm_kernel_mcp.__file__, json.__file__)
    assert all(any(Path(path).resolve().is_relative_to(place.resolve()) for place in paths) for path in needed)
    seen = [Path.home(), Path(sys.prefix), Path("/"), Path("/etc"), Path("/usr"), ROOT / ".git"]
    assert not [path for path in seen if any(path.resolve().is_relative_to(place.resolve()) for place in paths)]


def test_every_wall_of_the_policys_schema_has_a_remedy() -> None:
    """The two lists of names stand in two processes; a person is told a remedy for each."""
    assert set(WALLS) == set(REMEDIES) == set(get_args(policy.WallName))


def test_the_host_knows_a_read_only_scratch_folder_by_the_walls_words() -> None:
    """The walls stand on nothing of the package's, so the words are there twice."""
    assert READ_ONLY_SCRATCH == wire.READ_ONLY_SCRATCH


def test_the_host_knows_that_it_counts_the_threads_by_the_walls_words() -> None:
    """As above; other words, and nothing would count them."""
    assert _COUNTED["host"] == wire.HOST_COUNTS_THREADS
    assert not [words for bound, words in _COUNTED.items() if bound != "host" and wire.HOST_COUNTS_THREADS in words]
