"""A node that drives one session, and ends itself by SIGKILL at a line of the store: run by the tests.

Arguments: the store, the line, and at which time it is reached. It prints a line for each step that is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.cluster.shared.protocol import Frame

VALUE_BYTES = 3 << 20


async def drive(where: str, line: str, times: int) -> None:
    left = times

    def dies(reached: str) -> None:
        nonlocal left
        left -= reached == line
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(where, faults=dies, within_s=60)
    claim = await store.newest("s_one")
    epoch = 1 if claim is None else claim.epoch + 1
    await store.claim("s_one", epoch, "dying")
    print("claimed", flush=True)
    first = 1 + max(
        [int(one.key[4:]) for one in [one async for one in store.read("s_one", epoch)] if one.kind == 2] or [-1]
    )
    for step in range(first, first + 30):
        value = step.to_bytes(4, "little") * (VALUE_BYTES // 4)
        await store.append("s_one", epoch, [Frame(1, "value", value), Frame(2, f"row:{step}", b"%d" % step)])
        print(f"acknowledged {step}", flush=True)


if __name__ == "__main__":
    asyncio.run(drive(sys.argv[1], sys.argv[2], int(sys.argv[3])))
