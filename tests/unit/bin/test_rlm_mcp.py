"""`bin/rlm-mcp`: what a client puts in `command`, from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.parts import ROOT
from tests.unit.bin.copies import SYSTEM_PATH, copied_checkout, run

FRONT = "-S ROOT/rlm_kernel_mcp/front/run.py"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


def test_before_the_setup_it_names_the_command_that_does_it_and_exits_2(tmp_path: Path) -> None:
    """On stderr: stdout belongs to the protocol."""
    root = copied_checkout(tmp_path / "checkout")
    ended = run(root / "bin" / "rlm-mcp", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert str(root / "bin" / "setup") in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], FRONT),
        (["--max-sessions", "3"], f"{FRONT} --max-sessions 3"),
        (["serve", "--max-sessions", "3"], "-m rlm_kernel_mcp serve --max-sessions 3"),
        (["trace", "s_7f3k9q"], "-m rlm_kernel_mcp trace s_7f3k9q"),
        (["--help"], "-m rlm_kernel_mcp --help"),
        ([""], "-m rlm_kernel_mcp "),
    ],
)
def test_it_hands_its_arguments_on(tmp_path: Path, arguments: list[str], expected: str) -> None:
    """The Python of the copy only tells how it was started; without a subcommand the program is a front."""
    root = copied_checkout(tmp_path / "checkout")
    stand_in_for_python(root)
    told = run(root / "bin" / "rlm-mcp", *arguments, cwd=tmp_path)
    assert told.stdout == f"{root}/.venv/bin/python -I {expected.replace('ROOT', str(root))}\n{tmp_path}\n"


def test_where_hosts_are_switched_off_it_starts_the_server_and_an_option_may_switch_them_on(tmp_path: Path) -> None:
    root = copied_checkout(tmp_path / "checkout")
    stand_in_for_python(root)
    env = {"PATH": SYSTEM_PATH, "RLM_HOST": "off"}
    alone, asked = (
        subprocess.run(
            [root / "bin" / "rlm-mcp", *given], env=env, cwd=tmp_path, capture_output=True, check=True
        ).stdout
        for given in ([], ["--host", "auto"])
    )
    assert alone.startswith(os.fsencode(f"{root}/.venv/bin/python -I -m rlm_kernel_mcp\n"))
    assert b"/front/run.py --host auto\n" in asked


@pytest.mark.parametrize(
    "how", ["absolute link", "relative link", "link to a link", "relative path", "in its directory"]
)
def test_it_finds_its_checkout_however_it_is_called_and_stays_in_the_callers_folder(tmp_path: Path, how: str) -> None:
    """The server's working directory is the client's: relative context paths are read against it."""
    root = copied_checkout(tmp_path / "checkout with a space")
    stand_in_for_python(root)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "absolute").symlink_to(root / "bin" / "rlm-mcp")
    (elsewhere / "relative").symlink_to(Path("../checkout with a space/bin/rlm-mcp"))
    (elsewhere / "twice").symlink_to(Path("../absolute"))
    command, cwd = {
        "absolute link": (f"{tmp_path}/absolute", elsewhere),
        "relative link": ("elsewhere/relative", tmp_path),
        "link to a link": ("./twice", elsewhere),
        "relative path": ("checkout with a space/bin/rlm-mcp", tmp_path),
        "in its directory": ("./rlm-mcp", root / "bin"),
    }[how]
    told = run(command, cwd=cwd)
    assert told.stdout == f"{root}/.venv/bin/python -I {FRONT.replace('ROOT', str(root))}\n{cwd}\n"


def test_the_real_server_answers_through_a_link_whatever_lies_in_the_working_directory(tmp_path: Path) -> None:
    """A project with a `json.py` of its own, and a hostile PYTHONPATH: neither decides what the server imports."""
    (tmp_path / "server").symlink_to(ROOT / "bin" / "rlm-mcp")
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the working directory')")
    ended = subprocess.run(
        [tmp_path / "server"],
        input=json.dumps(INITIALIZE) + "\n",
        env={"PATH": SYSTEM_PATH, "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path), "RLM_HOST": "off"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (answer,) = (json.loads(line) for line in ended.stdout.split("\n") if line)
    assert (ended.returncode, answer["id"]) == (0, 1), ended.stderr
    assert "rlm_init_context" in answer["result"]["instructions"]


def stand_in_for_python(root: Path) -> None:
    """Put a script in the place of the environment's Python that prints how, and where, it was started."""
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$0 $*"\npwd\n')
    python.chmod(0o755)
    (root / ".venv" / ".setup-stamp").write_text("")
