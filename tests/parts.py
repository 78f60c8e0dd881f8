"""Parts of a machine that some tests need and a person may not have.

A test whose part is missing is skipped, with the command that brings the part; `conftest.py` lists these at
the end of a run, and turns them into failures where `RLM_FORBID_SKIPS=1` (CI).
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
CHROMIUMS: Final = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def one_of_each(cases: Mapping[str, object], fast: Collection[str]) -> list[Any]:
    """Each case as a test's parameter by its name: those of `fast`, one of each kind, in the fast part, others slow."""
    assert cases.keys() >= {*fast}, "a case that there is not would leave its kind to the slow part alone"
    return [pytest.param(case, id=name, marks=[] if name in fast else pytest.mark.slow) for name, case in cases.items()]


def skip_for_lack_of(part: str, command: str) -> NoReturn:
    """Skip the test that asks: `part` is missing, and `command` brings it."""
    pytest.skip(f"{part} is missing; this brings it: {command}")


def require_openai() -> None:
    """Skips the test that asks where the client of the backend `openai` is not installed."""
    if importlib.util.find_spec("openai") is None:
        skip_for_lack_of("the client of the backend openai", "bin/setup --with openai")


def require_ray() -> None:
    """Skips the test that asks where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        skip_for_lack_of("Ray", "bin/setup --with ray")


def codex_binary() -> Path:
    """The real Codex binary that `bin/setup --with codex` brought; skips the test where it is not there."""
    for path in ROOT.glob(".codex-bin/node_modules/@openai/codex-*/vendor/*/bin/codex"):
        return path
    skip_for_lack_of("the Codex binary", "bin/setup --with codex")


def claude_program() -> Path:
    """The real `claude` that `bin/setup --with claude` brought; skips the test where it is not there."""
    for path in ROOT.glob(".claude-bin/node_modules/@anthropic-ai/claude-code-*/claude"):
        return path
    skip_for_lack_of("the program claude", "bin/setup --with claude")


def axe() -> Path:
    """The script of axe-core that `bin/setup --with axe` brought; skips the test where it is not there."""
    path = ROOT / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
    if path.exists():
        return path
    skip_for_lack_of("axe-core", "bin/setup --with axe")


def chromium() -> Path:
    """A Chromium, of whatever name; skips the test where there is none."""
    for name in CHROMIUMS:
        if (found := shutil.which(name)) is not None:
            return Path(found)
    skip_for_lack_of("Chromium", "Debian: apt-get install chromium-headless-shell")


def data_python() -> Path:
    """The Python of the environment that `bin/setup --with data` made; skips the test where it is not there."""
    python = ROOT / ".venv-data" / "bin" / "python"
    if (ROOT / ".venv-data" / ".setup-stamp").exists():
        return python
    skip_for_lack_of("the environment with numpy and pandas", "bin/setup --with data")


def lab_python() -> Path:
    """The Python of the environment that `bin/setup --with lab` made; skips the test where it is not there."""
    python = ROOT / ".venv-lab" / "bin" / "python"
    if (ROOT / ".venv-lab" / ".setup-stamp").exists():
        return python
    skip_for_lack_of("the environment with JupyterLab and its like", "bin/setup --with lab")
