"""Functions that a program offers to a session's code: what one call takes, beside a bare socket pair's echo.

Is: a session of this process, and one of a host of its own; the function does nothing. Is not: a function's own time,
or questions to a model (`subcalls.py`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench.bars.subcalls import echoed, figures
from bench.measure import Amounts, Bar, Row
from rlm_kernel_mcp.api import AsyncSession

CALLS = """
import time
took = []
for _ in range(__COUNT__):
    begin = time.perf_counter()
    host_call("same", value="x" * 200)
    took.append((time.perf_counter() - begin) * 1e6)
took.sort()
took[len(took) // 2], took[len(took) * 95 // 100]
"""
WHY = "it goes over the channel, whose own rows say what that takes; the way to a program's thread was not timed apart"


def same(value: str) -> str:
    """What it was given."""
    return value


async def host_calls(amounts: Amounts) -> list[Row]:
    """One call after the other."""
    count = 20 if amounts.smoke else 400
    taken: dict[str, list[tuple[float, ...]]] = {}
    bare: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory(prefix="rlm-bench-") as around:
        state, host_dir = Path(around) / "state", Path(around) / "host"
        host_dir.mkdir(mode=0o700)
        env = {"RLM_STATE_DIR": str(state), "RLM_HOST_DIR": str(host_dir), "RLM_HOST_IDLE_S": "1"}
        options: dict[str, Any] = {"env": env, "context_text": "x", "host_functions": {"same": same}}
        async with (
            AsyncSession(host="off", **options) as here,
            AsyncSession(host="required", **options) as hosted,
        ):
            sessions = {"of this process": here, "of a program, through its host": hosted}
            for session in sessions.values():
                await _called(session, 20)
            for _ in range(amounts.times(7)):
                for what, session in sessions.items():
                    taken.setdefault(what, []).append(await _called(session, count))
                bare.append(await echoed(count))
    here_rows, hosted_rows = taken.values()
    against, other = "a bare socket pair's echo: median", figures(bare, 0)
    return [
        Row("host_call of a function of this process", figures(here_rows, 0), against, other, "us", Bar(4.0), WHY),
        Row("host_call of a function of a program, through its host", figures(hosted_rows, 0), against, other, "us"),
    ]


async def _called(session: AsyncSession, count: int) -> tuple[float, ...]:
    report = await session.run(CALLS.replace("__COUNT__", str(count)))
    if report.status != "ok":
        raise RuntimeError(f"a step ended with {report.status}: {report.error or report.note}")
    return tuple(float(part) for part in (report.result or "").strip("()").split(","))
