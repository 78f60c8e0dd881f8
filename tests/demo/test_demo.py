"""`bin/demo` does the whole loop through the real server; here on three packages of the library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from demo import __main__ as program
from tests.parts import ROOT


@pytest.mark.slow
def test_the_demo_answers_checks_itself_and_accounts_for_what_reached_the_client() -> None:
    """Exit status 0 is its own check against the second computation, of its citations too."""
    done = demo("asyncio", "email", "json")
    assert done.returncode == 0, done.stderr
    assert "The process that was started serves this session." in done.stdout
    assert "agrees in all" in done.stdout
    assert "An invented quote is refused. CITATION_MISMATCH: 1 of" in done.stdout
    assert "q1 is near" in done.stdout
    assert re.search(r"(?m)^  \[q1\] \S+\.py:\d+ verified: +def ", done.stdout)
    assert re.search(
        r"(?m)^The session as a notebook, run again .*: 12 of 12 cells say the same; 0 differ ", done.stdout
    )
    assert "characters reached the client" in done.stdout
    assert "Longest function:" in done.stdout
    assert done.stdout.count("run_repl") == 11
    assert "A SCRIPT ANSWERS" in done.stdout
    assert "No host serves here" in done.stdout
    assert "answers are those of the same rule over the files' own docstrings" in done.stdout
    assert "with Session(" in done.stdout
    assert re.search(r"(?m)^\d+ places\nthe first is \w+\.py:\d+$", done.stdout)


@pytest.mark.slow
def test_the_demo_has_a_host_by_default_which_nobody_else_finds_and_which_ends_with_it(short_dir: Path) -> None:
    """Nothing is left where it had its sockets and its records."""
    done = demo("json", env={"TMPDIR": str(short_dir), "RLM_HOST": "auto"})
    assert done.returncode == 0, done.stderr
    assert "A host that nobody else has serves this session." in done.stdout
    assert "agrees in all" in done.stdout
    assert re.search(r"taken by twenties by a second script in a sub-agent's place: \d+ of \d+ modules", done.stdout)
    assert "No host serves here" not in done.stdout
    assert not any(path.name.startswith("rlm-demo-") for path in short_dir.iterdir())
    assert not any(str(short_dir) in " ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"]))


@pytest.mark.slow
def test_the_demo_says_a_refusal_in_one_line_and_fails() -> None:
    """A package that is not there: the server's words, no traceback."""
    done = demo("no_such_package")
    assert done.returncode == 1
    assert "bin/demo: rlm_init_context" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_log_larger_than_the_kernels_memory_is_asked_three_questions_and_held_in_none() -> None:
    """As `bin/demo --large`, but for its size; exit status 0 is its own check against what was counted in writing."""
    done = demo("--large", "--large-mb", "200")
    assert done.returncode == 0, done.stderr
    assert "agrees in all" in done.stdout
    assert "held: mapped" in done.stdout
    own = dict(re.findall(r"(?m)^  (kernel|server) +(\d+) MB of its own", done.stdout))
    assert own.keys() == {"kernel", "server"}
    assert int(own["kernel"]) < 128, "a quarter of the session's memory: the log is more"
    assert 0 < int(own["server"]) < 200
    assert re.search(r"(?m)^Never ended: q\d{7}-9999 \[c2\]$", done.stdout)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--large", "--large-mb", "10"], "the least is 160 MB"),
        (["--large-mb", "300"], "--large-mb goes with --large"),
        (["--large", "json"], "--large has no packages"),
        (["--large", "--notebook", "n.ipynb"], "--large has no packages, and no notebook"),
    ],
)
def test_a_size_that_shows_nothing_and_options_that_do_not_go_together_are_refused(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit status 2, as every wrong use."""
    monkeypatch.setattr(sys, "argv", ["bin/demo", *given])
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(program.main())  # as the program does
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def demo(*packages: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "bin" / "demo", *packages],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
