"""A shared store whose bytes were spoiled: an adoption says so, and the session is there once they are right again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import SessionMoved, StoreDamaged
from tests.cluster.node.nodes import here

pytestmark = pytest.mark.slow

VALUE = b"a value that stands in the store as it is"


def test_a_damaged_log_is_told_and_another_node_may_have_the_session(short_dir: Path) -> None:
    async def main() -> None:
        async with here(short_dir, "one", "two", "three") as (one, two, three):
            session_id = await one.opened()
            await one.step(session_id, f"x = {VALUE!r}")
            await one.step(session_id, "y = 2")
            (log,) = (
                path for path in (short_dir / "shared").rglob("*") if path.is_file() and VALUE in path.read_bytes()
            )
            whole = log.read_bytes()
            log.write_bytes(whole.replace(VALUE, VALUE.upper()))
            with pytest.raises(StoreDamaged):
                await two.adopt(session_id, 2)
            with pytest.raises(SessionMoved):
                await two.step(session_id, "x")
            log.write_bytes(whole)
            await three.adopt(session_id, 3)
            assert (await three.step(session_id, "x, y"))["result"] == f"({VALUE!r}, 2)"

    asyncio.run(main())
