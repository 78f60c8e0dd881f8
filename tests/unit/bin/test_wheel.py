"""The wheel ships what an installed package needs outside its Python files."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.parts import ROOT


def test_the_wheel_ships_the_kernelspec_for_itself_and_for_jupyter(tmp_path: Path) -> None:
    """The package reads its own copies; Jupyter clients of the same environment find the one that starts everywhere."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (listing,) = (name for name in names if name.endswith("entry_points.txt"))
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(listing).decode())
    specs = sorted(
        name.partition("kernelspecs/")[2] for name in names if name.startswith("rlm_kernel_mcp/kernelspecs/")
    )
    shared = sorted(name.partition("jupyter/kernels/")[2] for name in names if "/share/jupyter/kernels/" in name)
    assert shared == ["rlm-python/kernel.json", "rlm-python/policy.json"]
    assert specs == ["rlm-python-data/kernel.json", "rlm-python-data/policy.json", *shared]
    assert dict(entry_points["jupyter_client.kernel_provisioners"]) == {
        "rlm-provisioner": "rlm_kernel_mcp.notebook.running.provisioner:NotebookProvisioner"
    }
    assert {name.split("/")[0] for name in names if ".data/" not in name and ".dist-info/" not in name} == {
        "rlm_kernel_mcp"
    }
