"""A kernel looks at its container before it believes in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rlm_kernel_mcp.in_kernel.walls import container
from rlm_kernel_mcp.in_kernel.walls.plan import WallFailed, plan_from_policy
from rlm_kernel_mcp.kernel_code import kernel_code

POLICY = {
    "limits": {"memory_mb": 64, "open_files": 64, "threads": 16, "scratch_mb": 8, "scratch_files": 256},
    "walls": {"required": [], "wanted": []},
    "imports": {"mode": "allowlist"},
    "context": {"mapped_max_gb": 0},
}


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def test_this_machine_is_not_taken_for_a_container() -> None:
    """What runs the tests is root, may write, sees others or has a network: fail closed, and say in what."""
    with pytest.raises(WallFailed, match="this container does not have") as failed:
        container.verify(kernel_code())
    assert failed.value.wall == "container"
    assert "RLM_SANDBOX_MODE=process" in failed.value.remedy


@pytest.mark.parametrize("broken", [requirement for requirement, _ in container.REQUIREMENTS])
def test_one_broken_promise_is_enough(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each alone keeps user code out, and is named."""
    requirements = tuple(
        (requirement, lambda requirement=requirement: requirement != broken)
        for requirement, _ in container.REQUIREMENTS
    )
    monkeypatch.setattr(container, "REQUIREMENTS", requirements)
    with pytest.raises(WallFailed, match=broken):
        container.verify(kernel_code())


def test_the_row_says_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The limits are the engine's own, read from the control group and not from what was asked for."""
    monkeypatch.setattr(
        container, "REQUIREMENTS", tuple((requirement, lambda: True) for requirement, _ in container.REQUIREMENTS)
    )
    files = {"memory.max": f"{1488 << 20}\n", "pids.max": "130\n", "cpu.max": "100000 100000\n"}
    monkeypatch.setattr(container, "CGROUPS", write(tmp_path, files))
    row = container.verify(kernel_code())
    assert (row.name, row.holds) == ("container", True)
    assert "no network" in row.detail
    assert row.detail.endswith("1,488 MB, 130 pids, processors: 1")


CGROUPS = {
    "v2": (
        {"memory.max": "1048576\n", "pids.max": "5\n", "cpu.max": "50000 100000\n"},
        ("1 MB", "5 pids", "processors: 0.5"),
    ),
    "v1": (
        {
            "memory/memory.limit_in_bytes": "2097152\n",
            "pids/pids.max": "6\n",
            "cpu/cpu.cfs_quota_us": "200000\n",
        },
        ("2 MB", "6 pids", "processors: 2"),
    ),
    "v2 without limits": (
        {"memory.max": "max\n", "pids.max": "max\n", "cpu.max": "max 100000\n"},
        (
            "memory limited by the kernel's own walls alone",
            "pids limited by the kernel's own walls alone",
            "processors: all",
        ),
    ),
    "v1 without limits": (
        {"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1\n"},
        (
            "memory limited by the kernel's own walls alone",
            "pids limited by the kernel's own walls alone",
            "processors: all",
        ),
    ),
}


@pytest.mark.parametrize("case", CGROUPS)
def test_an_engine_that_sets_no_limit_is_not_said_to_have_one(case: str, tmp_path: Path) -> None:
    """An engine without the right to limit starts a container all the same (podman of an ordinary user, cgroup v1)."""
    files, words = CGROUPS[case]
    assert container.limits(write(tmp_path, files)) == words


def test_a_folder_that_no_tmpfs_bounds_is_no_quota(tmp_path: Path) -> None:
    """Neither an ordinary directory, nor a mount that holds more than the plan says."""
    (tmp_path / "w").mkdir()
    (tmp_path / "c").mkdir()
    plan = plan_from_policy(POLICY, scratch=str(tmp_path / "w"), socket_dir=str(tmp_path / "c"))
    assert container.scratch_quota(plan) == ""
    assert container.scratch_quota(replace(plan, scratch="/")) == ""


def test_an_image_that_holds_other_code_than_its_label_says_is_refused() -> None:
    """A label is what somebody wrote; the code that runs looks at itself."""
    with pytest.raises(WallFailed, match=r"holds other kernel code \(\w{16}\) than the server \(0000\)"):
        container.verify("0000")
