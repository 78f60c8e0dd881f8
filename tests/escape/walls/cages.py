"""Cages: the attack program inside the walls, in each tier that this machine gives, as each user that can be had."""

from __future__ import annotations

import ast
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlm_kernel_mcp.in_kernel.walls import namespaces
from rlm_kernel_mcp.in_kernel.walls.plan import WALLS
from tests.escape.canaries import PROGRAM, Canaries, python_for, users

LIMITS = {
    "memory_mb": 128,
    "open_files": 128,
    "threads": 64,
    "scratch_mb": 8,
    "scratch_files": 256,
}
MAPPED_MAX_GB = 64
SECONDS = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """A tier (`ns`, `lock`, or `none`: the control without walls) and a user (None: the one that runs the tests)."""

    tier: str
    user: str
    uid: int | None


def kinds() -> list[Kind]:
    """Every tier of this machine with every user of it."""
    tiers = ["lock"] if namespaces.refusal() else ["ns", "lock"]
    return [Kind(tier, user, uid) for tier in tiers for user, uid in users().items()]


def policy(tier: str, **limits: int) -> dict[str, Any]:
    """A policy that requires every wall of a tier."""
    required = {
        "ns": WALLS,
        "lock": [wall for wall in WALLS if wall not in ("namespaces", "scratch_quota")],
        "none": [],
    }
    walls = {"required": list(required[tier]), "wanted": []}
    context = {"mapped_max_gb": limits.pop("mapped_max_gb", MAPPED_MAX_GB)}
    return {"imports": {"mode": "allowlist"}, "limits": LIMITS | limits, "context": context, "walls": walls}


def names(module: str) -> list[str]:
    """The attacks of a module of the program: its public functions that take the targets alone."""
    (path,) = PROGRAM.rglob(f"{module}.py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return [
        f"{module}.{node.name}"
        for node in functions
        if [argument.arg for argument in node.args.args] == ["targets"] and node.name != "initialize"
    ]


def start(kind: Kind, canaries: Canaries, attacks: Sequence[str], **changes: Any) -> subprocess.Popen[str]:
    """Start a cage; a line on its standard input ends a `wait_for_a_line`.

    Args:
        kind: tier and user.
        canaries: what is outside; also gives it its directories.
        attacks: names, in the order in which they are tried.
        changes: of the specification: `policy`, `targets`, `hidden_calls`, `early_thread`, `slow_monitor`, and what
            signals it inherits as `ignored_signals` and `blocked_signals`.
    """
    scratch, sockets = canaries.directories()
    spec = {
        "policy": policy(kind.tier),
        "targets": canaries.targets(platform.machine()) | {"scratch": str(scratch), "socket_dir": str(sockets)},
        "attacks": list(attacks),
        "hidden_calls": [],
        "early_thread": False,
        "slow_monitor": False,
        "ignored_signals": [],
        "blocked_signals": [],
    } | changes
    return subprocess.Popen(
        [python_for(kind.uid), "-I", str(canaries.program / "cage.py"), json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        user=kind.uid,
        group=kind.uid,
        extra_groups=None if kind.uid is None else [],
        start_new_session=True,
        cwd="/",
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """What a cage said, and how it ended."""

    announced: list[str]
    walls: dict[str, dict[str, Any]]
    scratch_writable: bool
    outcomes: dict[str, tuple[str, str]]
    failed: list[str]
    """Wall and reason, where the walls could not be raised and nothing was tried."""
    code: int
    said: str


def run(kind: Kind, canaries: Canaries, attacks: Sequence[str], **changes: Any) -> Ended:
    """Run attacks in a cage to its end; `changes` as for `start`."""
    with start(kind, canaries, attacks, **changes) as cage:
        said, errors = cage.communicate(timeout=SECONDS)
    lines = [json.loads(line) for line in said.splitlines()]
    announced = lines.pop(0)[1:] if lines and lines[0][0] == "announced" else []
    assert lines, said + errors
    if lines[0][0] == "failed":
        return Ended(announced, {}, False, {}, lines[0][1:], cage.returncode, said)
    rows = {row["name"]: row for row in lines[0][0]}
    outcomes = {name: (what, text) for name, what, text in lines[1:]}
    return Ended(announced, rows, lines[0][1], outcomes, [], cage.returncode, said)
