"""What the project's papers say of it is true: its licence, its metadata, and how it is installed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest

from tests.parts import ROOT

PAPERS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("rlm_kernel_mcp/**/*.py")])
OTHERS: Final = [ROOT / "pyproject.toml", *sorted(path for path in (ROOT / "bin").glob("[!_.]*") if path.is_file())]
"""What has comments for a reader too."""
PATHS: Final = [path for top in ROOT.glob("[!.]*") if top.is_dir() for path in top.rglob("*.py")]
ENDS: Final = {"/".join(path.parts[first:]) for path in PATHS for first in range(1, len(path.parts))}
"""Every path, and every end of one that begins with a whole name."""
NAMED_FILE: Final = re.compile(r"`([\w./-]*\w\.py)(?:::\w+)?`")
BARE_NAME: Final = re.compile(
    r"\b(?:pip3?|pipx|uv|uvx)\b(?: +(?:install|run|add|inject|tool|pip))*(?: +-\S+)* +[\"'`]?rlm[-_]kernel[-_]mcp"
)
"""An installer that is given the name, under which a stranger could register a package, and not a wheel's path."""


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_is_told_to_install_the_bare_name(paper: Path) -> None:
    """The package is published nowhere: the command would run whatever a stranger registers."""
    assert BARE_NAME.findall(paper.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "command",
    [
        "pip install rlm-kernel-mcp",
        "pip3 install --upgrade rlm_kernel_mcp",
        "pipx run rlm-kernel-mcp",
        "uvx rlm-kernel-mcp serve",
        "uv tool install 'rlm-kernel-mcp'",
        'python -m pip install -U "rlm-kernel-mcp[console]"',
    ],
)
def test_such_a_command_would_be_seen(command: str) -> None:
    """The pattern above matches what it is for."""
    assert BARE_NAME.search(command)


def test_the_metadata_names_the_licence_the_authors_and_only_what_runs() -> None:
    """No address is asked of the reader that is not there, and no system is listed that is refused."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "BSD-3-Clause"
    assert project["license-files"] == ["LICENSE"]
    assert "BSD 3-Clause License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert project["authors"] == [{"name": "the rlm-kernel-mcp developers"}]
    assert "urls" not in project
    systems = [name for name in project["classifiers"] if name.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]
    assert "metadata" not in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def files_that_are_not_there(text: str) -> list[str]:
    """Python files that a paper names, by their path or the end of it, and that the checkout does not have."""
    return [name for name in NAMED_FILE.findall(text) if name not in ENDS]


@pytest.mark.parametrize("paper", [*PAPERS, *OTHERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_paper_names_a_file_that_is_gone(paper: Path) -> None:
    """A module moves or goes, and with it every sentence that sends a reader there. The changelog tells of the past."""
    if paper.name != "CHANGELOG.md":
        assert files_that_are_not_there(paper.read_text(encoding="utf-8")) == []


def test_such_a_file_would_be_seen() -> None:
    """The pattern above matches what it is for, and the whole name counts."""
    text = "`kernel/gone.py`, `step.py`, `tests/unit/test_papers.py::test_it`, `session/session.py`"
    assert files_that_are_not_there(text) == ["kernel/gone.py", "step.py"]
