"""A small host: two sessions, one with an endless step in it; ends at the end of its input, or by a kill."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.sessions import SessionDriver, open_registry


async def main() -> None:
    async with open_registry(Path(sys.argv[1])) as registry:
        idle, running = await SessionDriver.open(registry), await SessionDriver.open(registry)
        await running.begin("print('begun', flush=True)\nwhile True: len('')")
        await running.until_printed("begun")
        filling = registry._pool._filling
        assert filling is not None
        async with asyncio.timeout(60):
            await asyncio.shield(filling)
        print(json.dumps({"kernel": idle.kernel.process.pid}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
