"""A fresh `python -c` per step with the state as JSON, as simple servers do it. No walls, no MCP in between."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import json, sys
task = json.load(sys.stdin)
state = task["state"]
exec(task["code"], state)
state.pop("__builtins__")
json.dump(state, sys.stdout)
"""


def fresh_step(code: str, state: dict[str, Any]) -> dict[str, Any]:
    """Run code in an interpreter of its own; returns the state after it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps({"code": code, "state": state}),
        capture_output=True,
        text=True,
        check=True,
    )
    after: dict[str, Any] = json.loads(done.stdout)
    return after
