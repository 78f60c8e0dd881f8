"""The start of the server: `initialize` against the least the SDK can do, and what is imported for it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from bench.measure import Amounts, Bar, Row, interleave, milliseconds
from bench.sides.ours import OurServer

ROOT = Path(__file__).resolve().parents[2]
OURS = (str(ROOT / "bin" / "rlm-mcp"), "serve")
BARE_FILE = ROOT / "bench" / "sides" / "bare_server.py"
BARE = (sys.executable, "-I", str(BARE_FILE))


async def initialize(amounts: Amounts) -> list[Row]:
    """From the start of the process, the way a client starts it, to the reply."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as around:
        directory = Path(tempfile.mkdtemp(dir=around))
        sides = [start_of(OURS, directory), start_of(BARE, directory)]
        ours, other = await interleave(sides, amounts.times(25), warm_up=amounts.times(3))
    what = "`bin/rlm-mcp serve` starts and answers `initialize`"
    why = (
        "its own modules, jupyter_client and pyzmq come on top of those of `MCPServer` (the row of `-X importtime`); "
        "a client's command line starts a front, which finds a host that has them"
    )
    return [Row(what, ours, "a bare `MCPServer` with one tool does", other, bar=Bar(1.1), why_missed=why)]


def start_of(
    argv: tuple[str, ...], directory: Path, env: Mapping[str, str] | None = None
) -> Callable[[], Awaitable[float]]:
    """Measures how long a server takes from its start to the reply to `initialize`, in ms."""

    async def sample() -> float:
        started: list[OurServer] = []

        async def action() -> None:
            started.append(OurServer(directory, argv, env))
            started[0].initialize()

        elapsed_ms = await milliseconds(action)
        started[0].close()
        return elapsed_ms

    return sample


async def imports(amounts: Amounts) -> list[Row]:
    """As Python reports it (`-X importtime`): the sum over all modules."""
    ours_code = "import rlm_kernel_mcp.cli, rlm_kernel_mcp.server.app"
    sides = [_import_time(ours_code), _import_time("from mcp.server.mcpserver import MCPServer")]
    ours, other = await interleave(sides, amounts.times(9), warm_up=1)
    return [Row("Python imports the server's modules (`-X importtime`)", ours, "it imports `MCPServer` alone", other)]


def _import_time(code: str) -> Callable[[], Awaitable[float]]:
    async def sample() -> float:
        return _import_ms(code)

    return sample


def _import_ms(code: str) -> float:
    argv = [sys.executable, "-I", "-X", "importtime", "-c", code]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stderr.splitlines()
    # `import time: self [us] | cumulative | imported package`, after a heading.
    return sum(int(line.split(":", 1)[1].split("|", 1)[0]) for line in lines[1:] if "|" in line) / 1000
