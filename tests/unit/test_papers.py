"""What the project's papers say of it is true: its licence, its metadata, and how it is installed."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.parts import ROOT

PAPERS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("rlm_kernel_mcp/**/*.py")])
OF_TODAY: Final = [paper for paper in PAPERS if paper.name != "CHANGELOG.md"]
"""All but the one that tells of the past."""
OTHERS: Final = [ROOT / "pyproject.toml", *sorted(path for path in (ROOT / "bin").glob("[!_.]*") if path.is_file())]
"""What has comments for a reader too."""
PATHS: Final = [path for top in ROOT.glob("[!.]*") if top.is_dir() for path in top.rglob("*.py")]
ENDS: Final = {"/".join(path.parts[first:]) for path in PATHS for first in range(1, len(path.parts))}
"""Every path, and every end of one that begins with a whole name."""
TOPS: Final = {path.name for top in (ROOT, ROOT / "rlm_kernel_mcp") for path in top.iterdir() if path.is_dir()} - {
    ".git",
    ".venv",
    ".venv-data",
    ".venv-lab",
}
PLACES: Final = {
    f"/{place.relative_to(ROOT).as_posix()}/"
    for top in ROOT.iterdir()
    if top.is_dir() and (top.name == ".ci" or not top.name.startswith("."))
    for place in (top, *top.rglob("*"))
}
"""Every file and directory of the checkout."""
NAMED_PLACE: Final = re.compile(r"`([\w.-]+/[\w./-]*)`")
MEDIA_TYPES: Final = {"text/plain", "text/html"}
OUR_NAME: Final = re.compile(r"`((?:[A-Za-z]\w*\.)*(?:[A-Za-z]\w*_\w+|[A-Z][a-z]+[A-Z]\w*))(?:\(\))?`")
"""What looks like a name of this code: with an underscore, or in CamelCase."""
NO_CODE_OF_OURS: Final = {"corpus", "program"}
"""Directories of what tests run inside a kernel."""
FOREIGN: Final = {
    "MemoryMax": "systemd",
    "TasksMax": "systemd",
    "tool_timeout_sec": "Codex",
    "default_tools_approval_mode": "Codex",
    "debug_request": "Jupyter",
    "provisioner_base": "jupyter_client",
    "allow_external_kernels": "jupyter_server",
    "external_connection_dir": "jupyter_server",
    "HistoryAccessor": "IPython",
    "RayCluster": "KubeRay",
    "NetworkPolicy": "Kubernetes",
    "RuntimeDefault": "Kubernetes",
    "PyImport_Import": "CPython",
    "rlm_x_reply": "a pattern",
    "rlm_x_request": "a pattern",
}
"""Names of others that no code here has."""
ROW_OF_A_WAY: Final = re.compile(r"\| \d+ \|")
IN_PACKAGE: Final = re.compile(r"`([\w./-]+(?:\.py|/))`")
NAMED_FILE: Final = re.compile(r"`([\w./-]*\w\.py)(?:::\w+)?`")
BARE_NAME: Final = re.compile(
    r"\b(?:pip3?|pipx|uv|uvx)\b(?: +(?:install|run|add|inject|tool|pip))*(?: +-\S+)* +[\"'`]?rlm[-_]kernel[-_]mcp"
)
"""An installer that is given the name, under which a stranger could register a package, and not a wheel's path."""


def found_in(papers: Iterable[Path], find: Callable[[str], list[str]]) -> dict[str, list[str]]:
    """What is found in the text of papers, by each paper in which something is. One test reads all of them.

    There are five hundred, and a test of its own for each takes ten times as long as to read it.
    """
    found = {str(paper.relative_to(ROOT)): find(paper.read_text(encoding="utf-8")) for paper in papers}
    return {name: lines for name, lines in found.items() if lines}


def test_nobody_is_told_to_install_the_bare_name() -> None:
    """The package is published nowhere: the command would run whatever a stranger registers."""
    assert found_in(PAPERS, BARE_NAME.findall) == {}


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


def test_no_paper_names_a_file_that_is_gone() -> None:
    """A module moves or goes, and with it every sentence that sends a reader there. The changelog tells of the past."""
    assert found_in([*OF_TODAY, *OTHERS], files_that_are_not_there) == {}


def test_such_a_file_would_be_seen() -> None:
    """The pattern above matches what it is for, and the whole name counts."""
    text = "`kernel/gone.py`, `step.py`, `tests/unit/test_papers.py::test_it`, `session/session.py`"
    assert files_that_are_not_there(text) == ["kernel/gone.py", "step.py"]


def places_that_are_not_there(text: str) -> list[str]:
    """Files and directories that a paper names from the top of the checkout or of the package, and that are gone."""
    named = {name for name in NAMED_PLACE.findall(text) if name.partition("/")[0] in TOPS} - MEDIA_TYPES
    return sorted(name for name in named if not any(f"/{name.strip('/')}/" in place for place in PLACES))


def test_no_paper_names_a_place_that_is_gone() -> None:
    """Directories, programs and papers too, which move as modules do."""
    assert found_in(OF_TODAY, places_that_are_not_there) == {}


def misplaced(row: str) -> list[str]:
    """Files that a row of the design page names where they are not: see the rule at its beginning."""
    package, directory, found = ROOT / "rlm_kernel_mcp", "", []
    for name in IN_PACKAGE.findall(row):
        directory = name.rstrip("/").rpartition("/")[0] if "/" in name.rstrip("/") else directory
        places = [package / name] if "/" in name.rstrip("/") else [package / directory / name, package / name]
        found += [] if any(place.exists() for place in places) else [name]
    return found


def test_the_ways_by_file_name_each_file_where_it_is() -> None:
    """A reader goes from row to row: a bare name that exists elsewhere would lead him there."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if ROW_OF_A_WAY.match(line)]
    assert len(rows) > 50
    assert {row[:60]: names for row in rows if (names := misplaced(row))} == {}


def test_a_misplaced_file_would_be_seen() -> None:
    """The rule above is for what it says."""
    assert misplaced("| 1 | `session/steps/run.py`, `clock.py`, `wire.py`, `session.py`, `walls/` | |") == [
        "session.py",
        "walls/",
    ]


@cache
def names_in_code() -> frozenset[str]:
    """Every name and every word of a string in the code of the checkout, docstrings and comments left out."""
    files = [path for path in PATHS if not NO_CODE_OF_OURS & set(path.parts) and path != Path(__file__)]
    texts = {found for path in files for found in words_of(ast.parse(path.read_text(encoding="utf-8")))}
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


def words_of(tree: ast.Module) -> Iterator[str]:
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, str) and id(node) not in told:
                yield value


@cache
def known_names() -> frozenset[str]:
    """Made once: there are many papers, and some ten thousand names."""
    return frozenset(names_in_code() | FOREIGN.keys() | {path.stem for path in PATHS})


def names_that_are_gone(text: str) -> list[str]:
    """Names of this code that a paper says and no code has."""
    known = known_names()
    ours = (name for name in OUR_NAME.findall(text) if name.partition(".")[0] not in sys.stdlib_module_names)
    return [name for name in ours if not known.issuperset(name.split("."))]


def test_no_paper_names_what_is_gone() -> None:
    """A class, a function or a field that was renamed. A decision tells why, of what was there then too."""
    assert found_in([paper for paper in OF_TODAY if paper.parent.name != "decisions"], names_that_are_gone) == {}


def test_no_two_decisions_have_one_number() -> None:
    """They are named by it."""
    numbers = Counter(path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [number for number, count in numbers.items() if count > 1] == []


def test_such_a_place_and_such_a_name_would_be_seen() -> None:
    """The patterns above match what they are for; another's path, and words, are left alone."""
    text = "`session/gone/`, `bin/gone`, `session/kernels/`, `bin/setup`, `/proc/self`, `text/plain`"
    assert places_that_are_not_there(text) == ["bin/gone", "session/gone/"]
    text = "`GoneClass`, `SessionKernel.gone_method`, `gone_function()`, `SessionKernel.ready_for_step`, `gone`"
    assert names_that_are_gone(text) == ["GoneClass", "SessionKernel.gone_method", "gone_function"]
