"""Which walls this machine gives, tried for real.

Is: a program (`python -I -m rlm_kernel_mcp.in_kernel.probe --policy FILE`) that raises every wall in a child, tries
there what each wall must refuse, and prints one JSON object `{walls: [{name, holds, detail, remedy}], mapping, tier,
python, kernel_release, arch}`; `mapping` is why no context can be mapped behind the walls, and empty where one can.
Is not: a verdict: which walls must hold is the policy's, and doctor's to say.
Above: `rlm-kernel-mcp doctor`. Below: `walls/`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, NoReturn

from rlm_kernel_mcp.in_kernel.namespace.mapped_text import CannotMap, map_text
from rlm_kernel_mcp.in_kernel.walls.plan import REMEDIES, WALLS, WallFailed, WallStatus, plan_from_policy
from rlm_kernel_mcp.in_kernel.walls.raising import enter_namespaces, raise_lock_a, raise_lock_b
from rlm_kernel_mcp.units import MB

CHILD_SECONDS: Final = 20
SCRATCH_MB_MAX: Final = 64
"""A quota that is quickly reached, however large the policy's is."""


def probe(policy: dict[str, Any]) -> tuple[list[WallStatus], str]:
    """One row per wall, and why no context can be mapped behind them (empty: one can).

    A wall that breaks half-way is left out of a second try, so that the others are seen.
    """
    broken: dict[str, WallStatus] = {}
    while True:
        wanted = [wall for wall in WALLS if wall not in broken]
        answer = _in_child(policy, wanted)
        if "rows" in answer:
            rows = {row["name"]: WallStatus(**row) for row in answer["rows"]} | broken
            return [rows[wall] for wall in WALLS if wall in rows], answer["mapping"]
        wall = answer["wall"]
        if wall in broken:
            reason = "not tried: " + answer["reason"]
            return [broken.get(name, WallStatus(name, False, reason)) for name in WALLS], reason
        broken[wall] = WallStatus(wall, False, answer["reason"], answer["remedy"])


def tier(rows: Sequence[WallStatus]) -> str:
    """`ns`, `lock`, or `none` when neither files nor calls are confined."""
    holding = {row.name for row in rows if row.holds}
    return "ns" if {"namespaces", "seccomp"} <= holding else "lock" if {"landlock", "seccomp"} <= holding else "none"


def _in_child(policy: dict[str, Any], wanted: list[str]) -> dict[str, Any]:
    reader, writer = os.pipe()
    with tempfile.TemporaryDirectory(prefix="rlm-probe-") as directory:
        child = os.fork()
        if child == 0:
            os.close(reader)
            _raise_and_try(policy, wanted, Path(directory), writer)
        os.close(writer)
        said = _read_to_end(reader, child)
        _, status = os.waitpid(child, 0)
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError:
        last = wanted[-1]
        reason = f"the child ended with wait status {status} and said nothing."
        return {"wall": "namespaces" if "namespaces" in wanted else last, "reason": reason, "remedy": REMEDIES[last]}
    return answer


def _read_to_end(reader: int, child: int) -> bytes:
    said = b""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], CHILD_SECONDS)[0]:
            more = pipe.read(MB)
            if not more:
                return said
            said += more
    os.kill(child, signal.SIGKILL)
    return said


def _raise_and_try(policy: dict[str, Any], wanted: list[str], directory: Path, writer: int) -> NoReturn:
    """In the child: raise everything, try everything, report the result."""
    try:
        scratch, sockets = directory / "w", directory / "c"
        scratch.mkdir()
        sockets.mkdir(mode=0o700)
        text = "a text to be mapped\n" * 1000
        (directory / "text").write_text(text, encoding="ascii")
        descriptor = os.open(directory / "text", os.O_RDONLY)
        scratch_mb = min(policy["limits"]["scratch_mb"], SCRATCH_MB_MAX)
        limits = policy["limits"] | {"scratch_mb": scratch_mb}
        asked = policy | {"limits": limits, "walls": {"required": [], "wanted": wanted}}
        raised = enter_namespaces(plan_from_policy(asked, scratch=str(scratch), socket_dir=str(sockets)))
        raise_lock_a(raised)
        raise_lock_b(raised)
        rows = [asdict(_tried(row, scratch)) for row in raised.rows]
        answer: dict[str, Any] = {"rows": rows, "mapping": _mapping(descriptor, text)}
    except WallFailed as error:
        answer = {"wall": error.wall, "reason": error.reason, "remedy": error.remedy}
    # `write` and `_exit` alone: behind the walls little else is allowed, and the parent's buffers must not be flushed
    # twice.
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def _mapping(descriptor: int, text: str) -> str:
    try:
        mapped = map_text(descriptor, len(text), "ascii")
    except CannotMap as error:
        return str(error)
    return "" if mapped == text else "what was mapped is not what the file holds"


def _tried(row: WallStatus, scratch: Path) -> WallStatus:
    trial = TRIALS.get(row.name)
    if not row.holds or trial is None:
        return row
    passed = trial(scratch)
    return row if not passed else replace(row, holds=False, detail=f"raised, but {passed}", remedy=REMEDIES[row.name])


def _refused(act: Callable[[], object], what: str) -> str:
    try:
        act()
    except OSError:
        return ""
    return f"{what} was let through"


def _try_rlimits(_scratch: Path) -> str:
    held: list[int] = []
    try:
        # More than any limit of descriptors that a policy sets; without one this must end too.
        while len(held) < 100_000:
            held.append(os.dup(0))
    except OSError:
        return ""
    finally:
        for descriptor in held:
            os.close(descriptor)
    return "descriptors have no end"


def _try_seccomp(_scratch: Path) -> str:
    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)

    return _refused(lambda: socket.socket().close(), "socket()") or _refused(fork, "fork()")


def _try_namespaces(_scratch: Path) -> str:
    return "" if os.getpid() == 1 and not Path("/proc/self").exists() else "the machine's processes are in view"


def _try_scratch_quota(scratch: Path) -> str:
    def fill() -> None:
        for number in range(SCRATCH_MB_MAX + 1):
            (scratch / str(number)).write_bytes(bytes(MB))

    return _refused(fill, f"more than {SCRATCH_MB_MAX} MB")


TRIALS: Final[dict[str, Callable[[Path], str]]] = {
    "rlimits": _try_rlimits,
    "landlock": lambda _scratch: _refused(lambda: list(Path("/").iterdir()), "reading the root directory"),
    "seccomp": _try_seccomp,
    "namespaces": _try_namespaces,
    "scratch_quota": _try_scratch_quota,
}
"""Try what must not work behind a wall; returns what did. The walls without a row here verify themselves when
raised."""


def main() -> None:
    """Read the policy, probe, print."""
    parser = argparse.ArgumentParser(prog="rlm-kernel-probe", description=__doc__)
    parser.add_argument("--policy", type=Path, required=True, help="policy.json of the kernelspec")
    policy = json.loads(parser.parse_args().policy.read_text(encoding="utf-8"))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it were inherited as ignored, no child could be waited for
    rows, mapping = probe(policy)
    report = {
        "walls": [asdict(row) for row in rows],
        "mapping": mapping,
        "tier": tier(rows),
        "python": platform.python_version(),
        "kernel_release": platform.release(),
        "arch": platform.machine(),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
