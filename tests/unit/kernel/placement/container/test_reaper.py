"""The shell that removes a killed server's containers: real, with a false engine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rlm_kernel_mcp.kernel.placement.container import arguments as container
from rlm_kernel_mcp.kernel.placement.container.arguments import ContainerRuntime
from tests.sessions import WAIT_S


class FalseEngine:
    """An engine of a few shell lines with a file of containers; it writes down what it was asked. No pause is one."""

    def __init__(self, directory: Path, ps: str = "", rm: str = "") -> None:
        """`ps` and `rm`: what it does before it does as it is asked; `$n` is how often it was asked that."""
        self.record, self.there = directory / "asked", directory / "there"
        self.there.write_text("c1\nc2\n")
        self.record.touch()
        program, pause = directory / "podman", directory / "sleep"
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$*" >>{self.record}\nn=$(grep -c ^"$1" {self.record})\n'
            f"case $1 in\nps) {ps}\ncat {self.there};;\nrm) {rm}\n: >{self.there};;\nesac\n"
        )
        pause.write_text("#!/bin/sh\nexit 0\n")
        for script in (program, pause):
            script.chmod(0o755)
        self.runtime = ContainerRuntime("podman", str(program), "image:1", "9.9")
        self.env = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}

    def reaper(self, run_dir: str) -> subprocess.Popen[bytes]:
        """Its server lives until the input is closed."""
        return subprocess.Popen(container.reaper_argv(self.runtime, run_dir), stdin=subprocess.PIPE, env=self.env)

    def asked(self) -> list[str]:
        return [line.split()[0] for line in self.record.read_text().splitlines()]


def test_the_undertaker_removes_exactly_what_the_engine_lists_once_its_input_ends(tmp_path: Path) -> None:
    """A real shell, a false engine."""
    engine = FalseEngine(tmp_path)
    reaper = engine.reaper("/run/it's")
    assert reaper.poll() is None
    assert engine.asked() == []
    reaper.communicate(timeout=WAIT_S)
    listing, removal, again = engine.record.read_text().splitlines()
    assert listing == again
    assert listing.endswith("--filter label=rlm-kernel-mcp.run-dir=/run/it's")
    assert removal == "rm --force --volumes --ignore --time 0 c1 c2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "asked"),
    [
        ({"ps": '[ "$n" -lt 3 ] && exit 125'}, ["ps", "ps", "ps", "rm", "ps"]),
        ({"rm": '[ "$n" -lt 3 ] && exit 125'}, ["ps", "rm", "ps", "rm", "ps", "rm", "ps"]),
    ],
    ids=["cannot list them", "cannot remove them"],
)
def test_an_engine_that_fails_while_one_is_removed_is_asked_until_none_is_left(
    tmp_path: Path, trouble: dict[str, str], asked: list[str]
) -> None:
    """As podman does; and kernels whose server was killed end just then, and their containers with them."""
    engine = FalseEngine(tmp_path, **trouble)
    engine.reaper("/run/dir").communicate(timeout=WAIT_S)
    assert engine.asked() == asked
    assert engine.there.read_text() == ""


@pytest.mark.slow
def test_an_engine_without_containers_is_asked_on_while_a_client_works_that_may_make_one(tmp_path: Path) -> None:
    """A client outlives its server, works in the directory of its kernel, and makes the container in its own time."""
    run_dir, come = tmp_path / "run", tmp_path / "come"
    (run_dir / "kernel").mkdir(parents=True)
    os.mkfifo(come)
    # At the third look the client makes its container, and ends.
    engine = FalseEngine(tmp_path, ps=f'[ "$n" -eq 3 ] && {{ echo c3 >{tmp_path}/there; : >{come}; }}')
    engine.there.write_text("")
    client = subprocess.Popen(["/bin/sh", "-c", f"read _ <{come}"], cwd=run_dir / "kernel")
    try:
        engine.reaper(str(run_dir)).communicate(timeout=WAIT_S)
    finally:
        client.kill()
        client.wait()
    assert engine.asked()[:4] == ["ps", "ps", "ps", "rm"]
    assert engine.there.read_text() == ""
