"""The ecosystem's own suite, jupyter_kernel_test, has every sample and skips nothing, on our kernel and the stock one.

The suite itself is `kernel_suite.py`, which runs in the lab's environment.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.parts import ROOT, lab_python

pytestmark = pytest.mark.slow

WAIT_S = 300


@pytest.mark.parametrize("kernel_name", ["rlm-python", "python3"])
def test_the_kernel_passes_the_ecosystems_suite(kernel_name: str) -> None:
    """All 13 tests; the control lacks the range of the history, which the stock kernel numbers its own way."""
    python = str(lab_python())
    with tempfile.TemporaryDirectory(prefix="rlm-") as directory:
        env = {**os.environ, "XDG_RUNTIME_DIR": directory, "JUPYTER_PATH": f"{directory}/share/jupyter"}
        install = [python, "-I", "-m", "rlm_kernel_mcp", "kernelspec", "install", "--prefix", directory]
        subprocess.run(install, env=env, check=True, capture_output=True, timeout=WAIT_S)
        suite = [python, str(ROOT / "tests" / "clients" / "kernel_suite.py"), kernel_name]
        done = subprocess.run(
            suite, env=env, capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=directory
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("ran 13, ")
        assert not (Path(directory) / "rlm").is_dir() or list((Path(directory) / "rlm").iterdir()) == []
