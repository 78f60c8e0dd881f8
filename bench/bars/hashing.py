"""A context that is ready before its hash is: what it costs until then, and in all.

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
    """1 GB of ASCII by path, until the reply; the hash comes later."""
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
    what = f"a context of {size:,} MB is opened by its path and ready before its hash is (processor time)"
    return [Row(what, mine, "`sha256sum` reads the file", other, bar=Bar(0.9))]


async def _until_ready(server: OurServer, path: Path) -> float:
    """Milliseconds of processor time until the reply, including what the hash has used by then."""
    await settle(server.pid)
    before = spent_s(server.pid)
    opened = await asyncio.to_thread(server.call, "rlm_init_context", context_paths=[path.name])
    after = spent_s(server.pid)
    assert opened["context"]["held"] == "mapped", opened["context"]
    server.finalize(opened["session_id"])
    return (after - before) * 1_000
