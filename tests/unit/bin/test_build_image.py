"""`bin/build-image` builds what is not current, from the kernel's side alone. The engine here is a false one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rlm_kernel_mcp.kernel.placement.container.arguments import CODE_LABEL
from rlm_kernel_mcp.kernel_code import kernel_code
from tests.parts import ROOT


def builder() -> ModuleType:
    """`bin/image.py`, which is not a module of a package."""
    spec = importlib.util.spec_from_file_location("image", ROOT / "bin" / "image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def podman(tmp_path: Path) -> Path:
    """A podman that says which labels the image has, and keeps the context of a build."""
    program = tmp_path / "podman"
    program.write_text(
        "#!/bin/sh\n"
        f'printf "%s\\n" "$*" >>{tmp_path}/asked\n'
        f'case "$1" in image) cat {tmp_path}/labels;;\n'
        f'build) for last; do :; done; cp -r "$last" {tmp_path}/context;; esac\n'
    )
    program.chmod(0o755)
    return program


def build(podman: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "bin" / "image.py"), "--runtime", "podman", *arguments],
        env={**os.environ, "PATH": f"{podman.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_current_image_is_left_alone(podman: Path) -> None:
    """The second run is instant: one question to the engine."""
    labels = {CODE_LABEL: kernel_code(), "rlm-kernel-mcp.recipe": builder().recipe(False, None, [])}
    (podman.parent / "labels").write_text(json.dumps(labels))
    done = build(podman)
    assert done.returncode == 0, done.stderr
    assert "rlm-kernel:latest is current" in done.stderr
    assert len((podman.parent / "asked").read_text().splitlines()) == 1


def test_an_image_of_other_code_is_built_anew_with_the_label_that_the_server_reads(podman: Path) -> None:
    """The context holds the kernel's side and what pip needs, nothing of the host's side."""
    (podman.parent / "labels").write_text(json.dumps({CODE_LABEL: "0000"}))
    done = build(podman, "--image", "mine:2", "--base", "base:3", "--with", "numpy>=2")
    assert done.returncode == 0, done.stderr
    command = (podman.parent / "asked").read_text().splitlines()[-1]
    for part in ("--tag mine:2", "--build-arg=BASE=base:3", f"--label={CODE_LABEL}={kernel_code()}"):
        assert part in command
    context = podman.parent / "context"
    assert {path.name for path in context.iterdir()} == {"constraints.txt", "requirements.txt", "rlm_kernel_mcp"}
    packed = {path.name for path in (context / "rlm_kernel_mcp").iterdir()}
    ground = {"both_sides", "context_wire.py", "questions_wire.py", "units.py", "wire.py"}
    assert packed == {"__init__.py", "in_kernel", "kernel_code.py", *ground}
    wanted = (context / "requirements.txt").read_text().splitlines()
    assert wanted[-1] == "numpy>=2"
    assert any(line.startswith("ipykernel>=") for line in wanted)


def test_a_missing_engine_is_said_and_nothing_is_built(tmp_path: Path) -> None:
    """Status 2: the machine lacks something."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bin" / "image.py"), "--runtime", "podman"],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "no 'podman' on the PATH" in done.stderr


def test_help_says_which_way_needs_no_registry() -> None:
    """A person without a registry finds the way."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bin" / "image.py"), "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "--local" in done.stdout
    assert "no image registry" in " ".join(done.stdout.split())


def test_an_image_of_data_has_what_that_kernelspec_needs_in_the_versions_that_are_tested(podman: Path) -> None:
    """And what else was asked for; a plain image has none of it."""
    (podman.parent / "labels").write_text(json.dumps({}))
    done = build(podman, "--data", "--image", "data:1", "--with", "tabulate")
    assert done.returncode == 0, done.stderr
    context = podman.parent / "context"
    wanted = (context / "requirements.txt").read_text().splitlines()
    assert [line.partition(">")[0] for line in wanted[-5:]] == ["matplotlib", "numpy", "pandas", "pyarrow", "tabulate"]
    versions = (context / "constraints.txt").read_text()
    assert "\npandas==" in versions
    assert "\nipykernel==" in versions
    found = builder()
    assert found.recipe(False, None, found.data_requirements()) != found.recipe(False, None, [])
