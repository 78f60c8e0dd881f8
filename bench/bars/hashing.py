"""A context that is ready before its hash is made: what it costs until it is, and what it costs in all.

Processor time, of all processes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.bars.mapped import LINES, SMALL_MB, _of_program
from bench.measure import Amounts, Bar, Row, interleave
from bench.processes import MB, settle, spent_s
from bench.sides.ours import OurServer, our_server


async def hashing(amounts: Amounts) -> list[Row]:
    """1 GB of ASCII by path, until the answer is there; its hash comes later."""
    size = max(SMALL_MB, amounts.megabytes(1024))
    with our_server(env={"RLM_MEMORY_LIMIT_MB": "64"} if amounts.smoke else None) as server:
        path = server.directory / "hashed.txt"
        with path.open("w", encoding="ascii") as file:
            while file.tell() < size * MB:
                file.write(LINES)

        async def ours() -> float:
            return await _until_ready(server, path)

        async def sha256sum() -> float:
            return await _of_program("sha256sum", str(path))

        mine, other = await interleave([ours, sha256sum], amounts.times(5), warm_up=1)
    what = f"context of {size:,} MB by path, ready while its hash is still being made (processor time)"
    return [Row(what, mine, "`sha256sum` of the file", other, bar=Bar(0.9))]


async def _until_ready(server: OurServer, path: Path) -> float:
    """Milliseconds of processor time up to the answer, with what the hash has taken by then."""
    await settle(server.pid)
    before = spent_s(server.pid)
    opened = await asyncio.to_thread(server.call, "rlm_init_context", context_paths=[path.name])
    after = spent_s(server.pid)
    assert opened["context"]["held"] == "mapped", opened["context"]
    server.finalize(opened["session_id"])
    return (after - before) * 1_000
