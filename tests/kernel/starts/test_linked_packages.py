"""Python environments whose packages lie elsewhere: linked as a whole, one by one, file by file, or by path files.

As link farms, `uv --link-mode symlink`, Nix and editable installs make them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.parts import ROOT

SITE: Final = Path(sysconfig.get_path("purelib"))
PROGRAM: Final = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.sessions import SessionDriver, open_registry

async def main():
    async with open_registry(Path(sys.argv[1]), RLM_IMPORT_POLICY="any", RLM_IMPORTS="edited,lonely") as registry:
        session = await SessionDriver.open(registry)
        for code in sys.argv[2:]:
            report = await session.run(code)
            print(report.status, report.result, report.error.evalue if report.error else "")

asyncio.run(main())
"""


def as_a_whole(site: Path) -> None:
    site.symlink_to(SITE)


def one_by_one(site: Path) -> None:
    site.mkdir()
    for entry in SITE.iterdir():
        (site / entry.name).symlink_to(entry)


def file_by_file(site: Path) -> None:
    for directory, _, files in os.walk(SITE):
        here = site / Path(directory).relative_to(SITE)
        here.mkdir(parents=True)
        for file in files:
            (here / file).symlink_to(Path(directory) / file)


def by_a_path_file(site: Path) -> None:
    site.mkdir()
    (site / "all.pth").write_text(f"{SITE}\n{ROOT}\n", encoding="utf-8")


def environment(directory: Path, install: Callable[[Path], None]) -> Path:
    """A virtual environment without a package of its own; returns its interpreter."""
    site = directory / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (directory / "bin").mkdir(parents=True)
    site.parent.mkdir(parents=True)
    (directory / "pyvenv.cfg").write_bytes((Path(sys.prefix) / "pyvenv.cfg").read_bytes())
    (directory / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    install(site)
    return directory / "bin" / "python"


def answers(python: Path, state: Path, *codes: str) -> list[str]:
    argv = [str(python), "-c", PROGRAM.format(root=str(ROOT)), str(state), *codes]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    return ended.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    "install",
    [
        as_a_whole,
        one_by_one,
        file_by_file,
        by_a_path_file,
    ],
)
def test_a_kernel_starts_and_reads_what_its_packages_read_later(
    tmp_path: Path, install: Callable[[Path], None]
) -> None:
    """A module that nobody has imported yet, of a package that is."""
    code = "import pygments.lexers.c_cpp, inspect; len(inspect.getsource(pygments)) > 100"
    assert answers(environment(tmp_path / "env", install), tmp_path / "state", code) == ["ok True "]


def test_of_an_editable_package_the_kernel_sees_that_package_alone(tmp_path: Path) -> None:
    """What lies beside it, as a project's secrets do, stays out of view; of a lone module only its own file."""
    project, other = tmp_path / "project", tmp_path / "other"
    (project / "edited").mkdir(parents=True)
    other.mkdir()
    (project / "edited" / "__init__.py").write_text("here = __file__")
    (project / "edited" / "later.py").write_text("word = 'read later'")
    (project / ".env").write_text("secret")
    (other / "lonely.py").write_text("here = __file__")
    (other / "beside.txt").write_text("secret")

    def install(site: Path) -> None:
        one_by_one(site)
        (site / "edited.pth").write_text(f"{project}\n{other}\n", encoding="utf-8")

    def read(path: Path) -> str:
        return f"from pathlib import Path; Path({str(path)!r}).read_text()"

    shown = answers(
        environment(tmp_path / "env", install),
        tmp_path / "state",
        "import edited.later; edited.later.word",
        "import lonely; lonely.here[-9:]",
        read(project / ".env"),
        read(other / "beside.txt"),
    )
    assert shown[:2] == ["ok 'read later' ", "ok 'lonely.py' "]
    assert [line.split()[0] for line in shown[2:]] == ["error", "error"]
