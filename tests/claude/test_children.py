"""A child session in which `claude` works, which is asked in words for want of tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.claude.scripted import Scripted
from tests.sessions import SessionDriver, end_session, open_registry

pytestmark = pytest.mark.anyio


async def test_claude_names_what_is_to_be_done_in_json(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    scripted = Scripted(tmp_path / "bin")
    scripted.plan(result={"result": json.dumps({"tool": "final", "arguments": {"text": "three"}})})
    environ: dict[str, Any] = {**scripted.environ, "RLM_SUBCALL_DEPTH": "2"}
    async with open_registry(tmp_path / "state", **environ) as registry:
        session = await SessionDriver.open(registry, "alpha\n")
        assert (await session.ok("rlm_query('top', 'abc')")).result == "'three'"
        said = scripted.runs()[-1]["stdin"]
        assert "run_python: Run code in the session's kernel" in said
        assert "Question: top" in said
        await end_session(session)
