"""Copies of the checkout's fronts in a directory of the test's own, so that the real checkout is never touched."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from tests.parts import ROOT

SYSTEM_PATH: Final = "/usr/bin:/bin"


def copied_checkout(directory: Path) -> Path:
    """A checkout with the fronts and what the set-up is made from, and no `.venv`."""
    shutil.copytree(ROOT / "bin", directory / "bin")
    shutil.copytree(ROOT / "kernelspecs", directory / "kernelspecs")
    (directory / "rlm_kernel_mcp").mkdir()
    for path in (ROOT / "pyproject.toml", *ROOT.glob("constraints*.txt"), ROOT / "rlm_kernel_mcp" / "__init__.py"):
        shutil.copy(path, directory / path.relative_to(ROOT))
    return directory


def checkout_module() -> ModuleType:
    """`bin/checkout.py`, which is not a part of a package."""
    spec = importlib.util.spec_from_file_location("checkout", ROOT / "bin" / "checkout.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mark_as_set_up(root: Path) -> None:
    """Give a copy an environment that only claims to be complete: enough where nothing is to be installed."""
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / ".setup-stamp").write_text(checkout_module().fingerprint(root))


def programs(directory: Path, **scripts: str) -> Path:
    """A directory for PATH that holds only what the fronts need of the system, and these shell scripts."""
    directory.mkdir()
    for name in ("dirname", "readlink"):
        found = shutil.which(name, path=SYSTEM_PATH)
        assert found is not None
        (directory / name).symlink_to(found)
    for name, script in scripts.items():
        program = directory / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return directory


def python_front() -> str:
    """Script of a `python3` on PATH that is the Python of this run."""
    return f'exec "{sys.executable}" "$@"'


def run(*argv: str | Path, path: str | Path = SYSTEM_PATH, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a front with nothing in the environment but PATH."""
    return subprocess.run(
        [str(part) for part in argv],
        env={"PATH": str(path)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
