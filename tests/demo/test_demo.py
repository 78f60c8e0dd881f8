"""`bin/demo` does the whole loop through the real server; here on three packages of the library."""

from __future__ import annotations

import subprocess

import pytest

from tests.parts import ROOT


@pytest.mark.slow
def test_the_demo_answers_checks_itself_and_accounts_for_what_reached_the_client() -> None:
    """Exit status 0 is its own check against the second computation."""
    done = demo("asyncio", "email", "json")
    assert done.returncode == 0, done.stderr
    assert "agrees in all" in done.stdout
    assert "characters reached the client" in done.stdout
    assert "Longest function:" in done.stdout
    assert done.stdout.count("run_repl") == 11


def test_the_demo_says_a_refusal_in_one_line_and_fails() -> None:
    """A package that is not there: the server's words, no traceback."""
    done = demo("no_such_package")
    assert done.returncode == 1
    assert "bin/demo: rlm_init_context" in done.stderr
    assert "Traceback" not in done.stderr


def demo(*packages: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "bin" / "demo", *packages], capture_output=True, text=True, timeout=100, check=False)
