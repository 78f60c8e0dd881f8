"""Real container engines, the image in them, and a server in container mode.

Is: podman, which every run of these tests needs, and docker as well where a daemon answers. Whatever an engine is asked
here names containers by the label that the server gives them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.kernel.placement.container.arguments import list_argv
from tests.mcp.line_client import WAIT_S, LineClient
from tests.parts import ROOT, skip_for_lack_of
from tests.records import record_of

IMAGE: Final = "rlm-kernel-tests:latest"
DATA_IMAGE: Final = "rlm-kernel-data-tests:latest"
BUILD_S: Final = 300


def answering() -> list[str]:
    """podman, asked for or skipped by each test; docker where its daemon answers."""
    docker = shutil.which("docker")
    if docker is not None and subprocess.run([docker, "version"], capture_output=True, check=False).returncode == 0:
        return ["podman", "docker"]
    return ["podman"]


@cache
def image_in(runtime: str, *, of_data: bool = False) -> str:
    """The image of this checkout's kernel code in an engine, built where it is not current; skips without an engine.

    `of_data`: the one of the kernelspec rlm-python-data.
    """
    image, data = (DATA_IMAGE, ["--data"]) if of_data else (IMAGE, [])
    if shutil.which(runtime) is None:
        skip_for_lack_of(runtime, f"apt-get install {runtime} runc, as root")
    local = ["--local"] if shutil.which("apt-get") and shutil.which("dpkg-deb") else []
    built = subprocess.run(
        [sys.executable, str(ROOT / "bin" / "image.py"), "--runtime", runtime, "--image", image, *local, *data],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_S,
    )
    assert built.returncode == 0, built.stderr
    return image


def ask(runtime: str, *arguments: str) -> str:
    """What an engine's command prints."""
    return subprocess.run([runtime, *arguments], capture_output=True, text=True, check=True, timeout=WAIT_S).stdout


def in_containers(runtime: str, run_base: str) -> dict[str, str]:
    """The settings of a server in container mode. `run_base`: where its run directory lies; a short path."""
    return {
        "RLM_SANDBOX_MODE": "container",
        "RLM_SANDBOX_CONTAINER_RUNTIME": runtime,
        "RLM_SANDBOX_CONTAINER_IMAGE": image_in(runtime),
        "XDG_RUNTIME_DIR": run_base,
    }


class ContainerServer:
    """A server in container mode, with run directories of its own, so that its containers are told from all others."""

    def __init__(self, runtime: str, directory: Path, **settings: str) -> None:
        self.runtime = runtime
        self.run_base = Path(tempfile.mkdtemp(prefix="rlm-c-"))  # short: sockets lie below it
        self.directory = directory
        self.settings = {**in_containers(runtime, str(self.run_base)), **settings}
        self.client = self._start()

    def start(self) -> LineClient:
        """Start another server after the one before has ended."""
        self.client.kill()
        return self._start()

    def _start(self) -> LineClient:
        self.client = LineClient(self.directory, self.settings)
        self.client.initialize()
        return self.client

    @property
    def run_dirs(self) -> list[Path]:
        """The run directories of this test's servers."""
        base = self.run_base / "rlm"
        return sorted(base.iterdir()) if base.exists() else []

    def containers(self, run_dir: Path) -> list[str]:
        """Ids of the containers of one run directory's server."""
        return ask(self.runtime, *list_argv("", str(run_dir))[1:]).split()

    def wait_for_containers(self, run_dir: Path, count: int) -> list[str]:
        """Ask the engine until it has this many containers of a server; each answer takes it a while."""
        deadline = time.monotonic() + WAIT_S
        while (found := self._containers_now(run_dir)) is None or len(found) != count:
            assert time.monotonic() < deadline, f"not {count} containers: {found}"
        return found

    def _containers_now(self, run_dir: Path) -> list[str] | None:
        """As `containers`, while some come or go; None: podman fails to list them where one is removed meanwhile."""
        try:
            return self.containers(run_dir)
        except subprocess.CalledProcessError:
            return None

    def wait_for_the_end_of_one(self, run_dir: Path, before: list[str]) -> None:
        """Ask the engine until exactly one of these containers is gone; others may have come."""
        deadline = time.monotonic() + WAIT_S
        while (now := self._containers_now(run_dir)) is None or len(set(before) - set(now)) != 1:
            assert time.monotonic() < deadline, f"of {before} not one is gone: {now}"

    def container_of(self, session_id: str) -> str:
        """A session's own container, by its name: another may be starting for the next session."""
        record = record_of(Path(self.client.env["RLM_STATE_DIR"]), session_id)
        directory = Path(record.connection_file).parents[1]
        return f"rlm-{directory.parent.name}-{directory.name}"

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        (found,) = json.loads(ask(self.runtime, "container", "inspect", container))
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        """End the server whatever state it is in, and remove what a failed test may have left."""
        self.client.kill()
        for run_dir in self.run_dirs:
            for container in self.containers(run_dir):
                subprocess.run([self.runtime, "rm", "-f", container], capture_output=True, check=False)
        shutil.rmtree(self.run_base, ignore_errors=True)
