"""Doctor says where questions go, and what they lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.doctoring.questions import questions_lines
from rlm_kernel_mcp.settings import load_settings


def lines(**environ: str) -> list[str]:
    return list(questions_lines(load_settings("/", {"HOME": "/h"} | environ).subcalls))


def test_it_says_to_whom_questions_go_and_within_which_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key that cannot be read is named with its remedy, and never shown; nothing is sent."""
    assert lines(RLM_SUBCALL_BACKEND="none") == ["Questions of sessions go nowhere (RLM_SUBCALL_BACKEND)."]
    (own,) = lines(OPENAI_API_KEY="sk-canary-1234")
    assert own == "Questions of a session go to the agent that drives it alone: at most 200 of one."
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    openai = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "gpt-6-luna", "RLM_SUBCALL_MAX": "50"}
    (told,) = lines(**openai, OPENAI_API_KEY="sk-canary-1234")
    assert told == (
        "Questions of sessions go to api.openai.com (gpt-6-luna), with whatever text code puts in: "
        "at most 50 a session and 10,000 a day."
    )
    _, nothing = lines(**openai, OPENAI_BASE_URL="http://localhost:1/v1")
    assert nothing == "No key is sent with them."
    _, missing = lines(**openai, RLM_SUBCALL_KEY_FILE=str(tmp_path / "key"))
    assert missing.startswith("NO QUESTION CAN BE ASKED: RLM_SUBCALL_KEY_FILE cannot be opened")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    _, lacking = lines(**openai, OPENAI_API_KEY="sk-canary-1234")
    assert "the package openai is not installed" in lacking


def test_it_says_how_deep_sessions_go() -> None:
    """Where any has a session of its own."""
    (_, told) = lines(RLM_SUBCALL_DEPTH="3")
    assert told == "rlm_query opens sessions of its own, down to a depth of 2 (RLM_SUBCALL_DEPTH)."
    assert len(lines(RLM_SUBCALL_DEPTH="1")) == 1
    assert len(lines(RLM_SUBCALL_DEPTH="3", RLM_SUBCALL_BACKEND="none")) == 1


def test_it_says_which_claude_is_asked_or_that_there_is_none(tmp_path: Path) -> None:
    """Its login may be the program's own."""
    claude = {"RLM_SUBCALL_BACKEND": "claude", "PATH": str(tmp_path)}
    where, missing = lines(**claude)
    assert where == (
        "Questions of sessions go to api.anthropic.com (a model of its choice), with whatever text code puts in: "
        "at most 200 a session and 10,000 a day."
    )
    assert missing.startswith("NO QUESTION CAN BE ASKED: There is no program `claude` in a directory of PATH.")
    (tmp_path / "claude").write_text("#!/bin/sh\n")
    (tmp_path / "claude").chmod(0o755)
    _, by = lines(**claude)
    assert by == f"They are asked by {tmp_path}/claude, which has no tools then, and its own login where no key is set."
