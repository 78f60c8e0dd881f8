"""What a program has set: settings, and what the endpoint that these name needs."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.doors.program import Program
from rlm_kernel_mcp.errors import InvalidInput

BACKEND = {"RLM_SUBCALL_BACKEND": "openai", "RLM_SUBCALL_MODEL": "a-model"}
KEY = {"OPENAI_API_KEY": "sk-of-a-program", "OPENAI_BASE_URL": "https://endpoint.example/v1"}


def test_a_program_gives_an_endpoint_and_its_key_with_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no settings, and a host hears of them as it does of those in the environment."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    program = Program.of({**BACKEND, **KEY})
    assert program.settings.subcalls.url == KEY["OPENAI_BASE_URL"]
    assert program.given == tuple(BACKEND)
    assert program.environ.items() >= {**BACKEND, **KEY}.items()


def test_without_a_backend_that_needs_it_a_key_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RLM_SUBCALL_BACKEND", raising=False)
    with pytest.raises(InvalidInput, match="There is no setting OPENAI_API_KEY"):
        Program.of({"OPENAI_API_KEY": "sk-of-a-program"})
