"""`rlm-kernel-mcp doctor`: what holds on this machine, and how to fix what does not.

Is: trials that a person can repeat: every wall raised in a process of its own, one kernel started as the server does
it, one as any other Jupyter client does; and what a server here would find beside: hosts, an endpoint, the store.
Is not: the walls (`in_kernel/walls/`), never raised in this process.
Above: `cli.py`. Below: `in_kernel.probe` as a program, the policy, the registry.
"""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.commands.doctoring.cluster import cluster_lines
from rlm_kernel_mcp.commands.doctoring.questions import is_answered, questions_lines
from rlm_kernel_mcp.commands.doctoring.store import store_lines
from rlm_kernel_mcp.commands.looking.hosts import host_lines
from rlm_kernel_mcp.commands.showing.table import aligned
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.errors import KernelStartFailed, RlmError, SandboxUnavailable
from rlm_kernel_mcp.kernel.placement.kernelspec import POLICY_FILE, locked_kernelspec
from rlm_kernel_mcp.policy import Policy, load_policy
from rlm_kernel_mcp.session.reports import Guardrails, Wall
from rlm_kernel_mcp.settings import Settings, doubts
from rlm_kernel_mcp.shielded import shielded
from rlm_kernel_mcp.units import MB

PROBE_TIMEOUT_S: Final = 30


def doctor(settings: Settings, environ: Mapping[str, str], *, ask: bool = False) -> int:
    """Print what holds; 0 when every required wall does and a kernel starts, else 1.

    `environ`: what the settings were made from. `ask`: send the backend for questions a short one, and be content only
    with an answer.

    Raises:
        InvalidInput: there is no such kernelspec, or its policy cannot be read.
    """
    policy_file = locked_kernelspec(settings.kernel, settings.jupyter) / POLICY_FILE
    policy = load_policy(policy_file)
    required = policy.walls.required
    print(f"{platform.platform()}, Python {platform.python_version()}\n", flush=True)
    for doubt in doubts(environ, settings):
        print(f"Settings: {doubt}\n", flush=True)
    report = probe(policy_file)
    print("\n".join(wall_lines(report, required)))
    lines = [mapping_line(report, policy), *store_lines(settings), *questions_lines(settings.subcalls)]
    print("\n".join(["", *lines]), flush=True)
    print("\n".join([*host_lines(settings, environ), *cluster_lines(environ)]), flush=True)
    missing = [wall["name"] for wall in report["walls"] if wall["name"] in required and not wall["holds"]]
    unheard = sorted(set(required) - {wall["name"] for wall in report["walls"]})
    print(flush=True)
    # All, even where the first does not start: each tells where to look.
    if not all([_server_starts_one(settings), _client_starts_one(settings), not ask or is_answered(settings.subcalls)]):
        return 1
    if missing or unheard:
        print(
            f"Required walls that do not hold: {', '.join([*missing, *unheard])}. The server refuses to start a kernel."
        )
        return 1
    print("Every required wall holds.")
    return 0


def _server_starts_one(settings: Settings) -> bool:
    try:
        took_ms, around = asyncio.run(first_step(settings))
    except RlmError as error:
        print(f"No kernel starts in the server: {error.code}: {error.message}\n  fix: {error.next_step}", flush=True)
        return False
    print(f"A kernel starts in the server, takes a context and answers: {took_ms:,} ms.", flush=True)
    if around is not None:
        print(f"Container mode: {'holds' if around.holds else 'DOES NOT HOLD'}: {around.detail}", flush=True)
    return True


def _client_starts_one(settings: Settings) -> bool:
    """Another Jupyter client, which gets no container even where one was asked for: no fault of the machine."""
    from rlm_kernel_mcp.kernel.first_cell import first_cell

    try:
        took_ms = asyncio.run(first_cell(settings.kernel))
    except RlmError as error:
        said = error.next_step in error.message or error.next_step == error.default_next_step
        fix = "" if said else f"\n  fix: {error.next_step}"
        print(f"No kernel starts in another Jupyter client: {error.code}: {error.message}{fix}")
        return settings.sandbox_mode == "container" and isinstance(error, SandboxUnavailable)
    print(f"A kernel starts in another Jupyter client as well, and answers: {took_ms:,} ms.")
    return True


def probe(policy_file: Path) -> dict[str, Any]:
    """Raise the walls in a process of its own and return what it says of them.

    Raises:
        KernelStartFailed: it gave no report.
    """
    argv = [sys.executable, "-I", "-m", "rlm_kernel_mcp.in_kernel.probe", "--policy", str(policy_file)]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired:
        raise KernelStartFailed(
            f"The probe of the walls did not end within {PROBE_TIMEOUT_S} s.",
            "Run doctor again when the machine is less busy; if it says the same, report it with this output.",
        ) from None
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise KernelStartFailed(
            f"The probe of the walls ended with status {done.returncode} and said: {last}",
            "Install the package again (bin/setup), then run doctor again.",
        ) from None
    return report


def wall_lines(report: dict[str, Any], required: tuple[str, ...]) -> Iterator[str]:
    """The table of the walls, with the remedy below each that does not hold."""
    rows = [("WALL", "REQUIRED", "HOLDS", "DETAIL")]
    rows += [
        (wall["name"], "yes" if wall["name"] in required else "no", "yes" if wall["holds"] else "NO", wall["detail"])
        for wall in report["walls"]
    ]
    remedies = [None, *(None if wall["holds"] else wall.get("remedy") for wall in report["walls"])]
    for line, remedy in zip(aligned(rows), remedies, strict=True):
        yield line
        if remedy:
            yield f"  fix: {remedy}"


def mapping_line(report: dict[str, Any], policy: Policy) -> str:
    """Whether a context that is larger than the memory can be held."""
    if not policy.context.mapped_max_gb:
        return "Contexts are held in memory: the policy maps none (context.mapped_max_gb)."
    if report["mapping"]:
        return f"Contexts are held in memory: none can be mapped, since {report['mapping']}."
    larger, most = Room.of(policy).in_memory_bytes // MB, policy.context.mapped_max_gb
    return f"Contexts of more than {larger:,} MB, of ASCII or latin-1, are mapped, up to {most:,} GB (tried here)."


async def first_step(settings: Settings) -> tuple[int, Wall | None]:
    """Start a kernel as the server does, load a context, run a step.

    Returns:
        How long all of it took, in ms, and the row of the container, where one was asked for.
    """
    from rlm_kernel_mcp.session.registry import Registry

    begin = time.monotonic_ns()
    with tempfile.TemporaryDirectory(prefix="rlm-doctor-") as state:
        registry = await Registry.open(replace(settings, state_dir=Path(state)))
        try:
            opened = await registry.init_context(context_text="doctor", context_paths=None, limits=Guardrails())
            step = await registry.run_repl(
                opened.session_id, "len(context)", timeout_ms=None, wait_ms=30_000, max_output_chars=100
            )
        finally:
            await shielded(registry.close(), "the end of doctor's session")
    if step.result != "6":
        raise KernelStartFailed(f"A kernel started, but its first step answered {step.status}: {step.stderr[:200]}")
    around = next((wall for wall in opened.walls if wall.name == "container"), None)
    return (time.monotonic_ns() - begin) // 1_000_000, around
