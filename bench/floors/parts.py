"""Which part of the host and of a kernel has how much of a step's processor time: shares of a profile of each.

A profile makes many small calls look dearer than they are, so that only shares are given; what they are shares of is
measured without one (`steps.py`). What the standard library does counts for whoever calls it, but for the event loop.
"""

from __future__ import annotations

import os
import pstats
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bench.floors.profiled_kernels import FIRST, LAST, NAME
from bench.floors.profiled_server import PROFILE
from bench.floors.shares import Toll, calls, seconds_by_part
from bench.measure import Amounts, Figures, Row
from bench.sides.ours import our_server

SERVER = (sys.executable, "-I", "-m", "bench.floors.profiled_server")
STEPS = LAST - FIRST
PARTS = {
    "/asyncio/": "the event loop",
    "/selectors.py": "the event loop",
    "/anyio/": "the MCP SDK, with anyio and pydantic",
    "/mcp/": "the MCP SDK, with anyio and pydantic",
    "/mcp_types/": "the MCP SDK, with anyio and pydantic",
    "/pydantic": "the MCP SDK, with anyio and pydantic",
    "/server/transport/": "lines, read, written and accounted for",
    "/rlm_kernel_mcp/server/": "the tool: its arguments, its answer",
    "/rlm_kernel_mcp/store/": "the record: three transactions of SQLite, and their rows",
    "/session/trace/": "the record: three transactions of SQLite, and their rows",
    "/rlm_kernel_mcp/kernel/": "messages to the kernel and from it",
    "/rlm_kernel_mcp/": "the session: account, limits, output made safe",
}
SYSTEM_CALLS = {
    "'select.epoll'": "looks for what has come (epoll_wait)",
    "method 'send' of '_socket.socket'": "messages to the kernel (send)",
    "method 'recv' of '_socket.socket'": "reads of what the kernel says (recv)",
    "posix.read": "reads of a line, and of /proc (read)",
    "posix.write": "writes of an answer, and of the page (write)",
    "posix.stat": "looks at the record's file (stat)",
    "posix.open": "openings of files of /proc (open)",
    "'execute' of 'sqlite3.Connection'": "statements of SQLite",
}
"""By a piece of the name of the function that makes it."""


async def parts(_amounts: Amounts) -> list[Row]:
    """The host and its kernel, both at once, over 500 steps of `1+1`."""
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as directory:
        file = Path(directory) / "host.profile"
        with our_server({PROFILE: str(file)}, SERVER) as server:
            session_id = server.open_session()
            for number in range(1, LAST + 1):
                if number == FIRST:
                    os.kill(server.pid, signal.SIGUSR1)
                server.step(session_id, "1+1")
            os.kill(server.pid, signal.SIGUSR1)
            kernel = server.call("rlm_get_var", session_id=session_id, var_name=NAME)["value"]
        host = pstats.Stats(str(file))
    toll = Toll.measured()
    seconds_of_host = seconds_by_part(host, PARTS, toll)
    rows = _rows("the host", seconds_of_host) + _rows("the kernel's main thread", kernel)
    whole = sum(seconds_of_host.values())
    for piece, what in SYSTEM_CALLS.items():
        count, seconds = calls(host, piece, toll)
        share = f"with this share of the host's processor time: {100 * seconds / whole:.1f} %"
        rows.append(Row(f"of a step, the host: {what}", Figures((count / STEPS,)), share, unit="times"))
    return rows


def _rows(who: str, seconds: Mapping[str, float]) -> list[Row]:
    whole = sum(seconds.values())
    shares = sorted(((100 * part / whole, name) for name, part in seconds.items()), reverse=True)
    return [Row(f"of a step's processor time, {who}: {name}", Figures((share,)), unit="%") for share, name in shares]
