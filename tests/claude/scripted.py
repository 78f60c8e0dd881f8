"""A scripted `claude` on a PATH of its own, and what it recorded of each run.

Is: a real program that a test puts into a directory. Is not: what it does (`program/scripted_claude.py`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.session.answering.claude.claude_cli import ClaudeBackend
from rlm_kernel_mcp.session.answering.claude.trial import NOT_A_KEY
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.variables.subcalls import SubcallSettings

PROGRAM: Final = Path(__file__).parent / "program" / "scripted_claude.py"
KEY: Final = "sk-ant-canary-0123456789"


class Scripted:
    """One program, in its directory."""

    def __init__(self, directory: Path, **plan: Any) -> None:
        self.directory = directory
        (directory / "records").mkdir()
        self.plan(**plan)
        program = directory / "claude"
        program.write_text(f"#!{sys.executable} -IS\n{PROGRAM.read_text(encoding='utf-8')}")
        program.chmod(0o755)

    def plan(self, **plan: Any) -> None:
        """What it does from now on."""
        (self.directory / "plan.json").write_text(json.dumps({"not_a_key": NOT_A_KEY, **plan}))

    @property
    def environ(self) -> dict[str, str]:
        """Of a client whose user has switched it on."""
        return {
            "RLM_SUBCALL_BACKEND": "claude",
            "PATH": f".:{self.directory}:/usr/bin:/bin",
            "HOME": str(self.directory),
            "ANTHROPIC_API_KEY": KEY,
            "SECRET_OF_ANOTHER": "sk-other",
        }

    def settings(self, **more: str) -> SubcallSettings:
        """What comes of that environment."""
        return load_settings("/", self.environ | more).subcalls

    def backend(self, **more: str) -> ClaudeBackend:
        """The backend by these settings."""
        return ClaudeBackend(self.settings(**more))

    def runs(self, *, trials: bool = False) -> list[dict[str, Any]]:
        """What was recorded of each run, in order."""
        found = [json.loads(path.read_text()) for path in sorted((self.directory / "records").glob("*.json"))]
        return [one for one in found if one["trial"] == trials]
