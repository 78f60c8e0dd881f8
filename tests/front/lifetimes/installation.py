"""An installation of the package of a test's own, whose version can be changed under running hosts, as an upgrade does.

Is: a copy of the package beside links to all that it needs, with a Python of its own. Is not: anything of pytest's.
"""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from pathlib import Path

from tests.parts import ROOT


class Installation:
    """A virtual environment with a copy of the package in it."""

    def __init__(self, directory: Path) -> None:
        site = Path(sysconfig.get_path("purelib", "venv", {"base": str(directory), "platbase": str(directory)}))
        self.package = site / "rlm_kernel_mcp"
        self.python = directory / "bin" / "python"
        site.mkdir(parents=True)
        self.python.parent.mkdir()
        self.python.symlink_to(Path(sys.executable).resolve())
        home = Path(sys.executable).resolve().parent
        (directory / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n", "utf-8")
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if entry.suffix != ".pth" and entry.name != "rlm_kernel_mcp":
                (site / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "rlm_kernel_mcp", self.package)  # with its bytecode, which has the times of its sources
        shutil.copytree(ROOT / "kernelspecs", self.package / "kernelspecs")

    @property
    def front(self) -> tuple[str, ...]:
        """What a client starts."""
        return str(self.python), "-I", "-S", str(self.package / "front" / "run.py")

    def become(self, version: str) -> None:
        """Have the version that is installed be that one."""
        file = self.package / "__init__.py"
        text, count = re.subn(r'__version__ = "[^"]*"', f'__version__ = "{version}"', file.read_text("utf-8"))
        assert count == 1
        file.unlink()  # as an installer does: who has it open has the old one
        file.write_text(text, "utf-8")
