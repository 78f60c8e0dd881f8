"""Kernelspecs for tests: the shipped one with some of its policy changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.parts import ROOT

SHIPPED: Final = ROOT / "kernelspecs" / "rlm-python"


def write_spec(directory: Path, name: str, changes: dict[str, Any], shipped: Path = SHIPPED) -> None:
    """Write a kernelspec below `directory`, which is to stand in JUPYTER_PATH. `changes`: by part of the policy."""
    spec = directory / "kernels" / name
    spec.mkdir(parents=True)
    policy = json.loads((shipped / "policy.json").read_text(encoding="utf-8"))
    for part, values in changes.items():
        policy[part] = {**policy[part], **values} if isinstance(policy[part], dict) else values
    (spec / "policy.json").write_text(json.dumps(policy), encoding="utf-8")
    (spec / "kernel.json").write_bytes((shipped / "kernel.json").read_bytes())
