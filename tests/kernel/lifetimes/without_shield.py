"""A program: calls cut off in a server whose clean-up is not shielded. Prints after how many something was left.

Is: the control of `test_cancelled_everywhere.py`. In a process of its own, which what is left ends with.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.kernel import pool
from rlm_kernel_mcp.kernel import starter as launch
from rlm_kernel_mcp.session import finalize, registry, session
from tests.cancelling import call_tool, cancelled_at, counted_tasks, held_by
from tests.sessions import open_registry

AWAITS: Final = range(16, 23)


async def bare(work: Coroutine[Any, Any, Any], what: str, *, within_s: float = 0) -> Any:
    """In the place of `shielded`: awaited where it stands."""
    del what, within_s
    return await work


async def main(directory: Path) -> None:
    for module in (launch, pool, registry, session, finalize):
        module.shielded = bare  # type: ignore[attr-defined]
    left = 0
    async with open_registry(directory / "state", policy={"pool": {"spare_kernels": 0}}) as opened:
        with counted_tasks():
            for nth in AWAITS:
                before = await held_by(opened)
                _, cut_off = await cancelled_at(
                    nth, lambda: call_tool(opened, "rlm_init_context", context_text="some text")
                )
                left += cut_off and await held_by(opened) != before
    print(left)


asyncio.run(main(Path(sys.argv[1])))
