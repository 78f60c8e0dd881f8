"""`jupyter console --kernel rlm-python`, by a user who has installed the kernelspec and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from rlm_kernel_mcp.kernel.placement.kernelspec import install_kernelspec
from tests.attach.console import WAIT_S, Console
from tests.processes import left_over


@pytest.mark.parametrize(
    "temporary",
    [
        pytest.param(False, id="runtime_directory"),
        pytest.param(True, id="long_temporary_directory", marks=pytest.mark.slow),
    ],
)
def test_the_console_starts_runs_interrupts_and_ends_the_kernel(
    tmp_path: Path, short_dir: Path, temporary: bool
) -> None:
    """In a fresh home; where XDG_RUNTIME_DIR is not set and the temporary directory's path is too long for a socket."""
    install_kernelspec(tmp_path / "data-of-jupyter")
    run = short_dir
    if temporary:
        run = tmp_path / ("long" * 30)
        run.mkdir(mode=0o700)
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    environment |= {"HOME": str(tmp_path / "home"), "JUPYTER_PATH": str(tmp_path / "data-of-jupyter/share/jupyter")}
    environment |= {"TMPDIR" if temporary else "XDG_RUNTIME_DIR": str(run)}
    console = Console(["-m", "jupyter_console", "--kernel", "rlm-python", "--simple-prompt"], environment)
    try:
        below = psutil.Process(console.terminal.pid).children(recursive=True)
        assert "42" in console.run("6 * 7")
        assert "ImportRefused" in console.run("import subprocess")
        console.type("print('be' + 'gun', flush=True) or [None for _ in iter(int, 1)]")
        console.until("begun")
        console.interrupt()
        assert "KeyboardInterrupt" in console.until(r"In \[4\]: ")
        console.type("exit")
        console.ended()
        assert left_over(below, WAIT_S) == []
        assert [path for path in run.rglob("*") if path.is_file() or path.is_socket()] == []
    finally:
        console.close()
