"""A node in a process of its own, without Ray: a socket, a line of JSON for each message, and nothing else.

Is: a program, `python -m tests.cluster.node.program` with one line of JSON on its command line. Is not: a way to carry
nodes for anybody: there is no token. Beside the methods of a node it takes `arm`: which line of the store ends it, or
fails, when it is reached.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.cluster.node.host import NodeHost
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.doors.wire.messages import error_said
from rlm_kernel_mcp.errors import RlmError
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.variables.cluster import load_cluster_settings

LINE_BYTES: Final = 1 << 28


class Faults:
    """What happens on which line of the store, once it is armed."""

    def __init__(self) -> None:
        self._line, self._times, self._how = "", 0, ""

    def arm(self, line: str, times: int, how: str) -> None:
        """`times`: at which time that the line is reached from now on. `how`: kill, stop, or the name of an errno."""
        self._times, self._how, self._line = times, how, line

    def __call__(self, line: str) -> None:
        """Called in a thread of the store."""
        if line != self._line:
            return
        self._times -= 1
        if self._how == "kill" and not self._times:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._how == "stop" and not self._times:
            os.kill(os.getpid(), signal.SIGSTOP)
        if self._how.startswith("E") and self._times >= 0:
            raise OSError(getattr(errno, self._how), os.strerror(getattr(errno, self._how)))


async def main(told: dict[str, Any]) -> None:
    """Serve one node until the connection ends."""
    behind_ns, time_ns = int(told.get("behind_s", 0)) * 10**9, time.time_ns
    time.time_ns = lambda: time_ns() - behind_ns
    faults = Faults()
    shared = open_store(told["environ"]["RLM_CLUSTER_STORE"], faults=faults)
    settings = load_settings(Path.cwd(), told["environ"])
    host = NodeHost(settings, load_cluster_settings(told["environ"]), shared)
    await host.open()

    async def one(said: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any] = {"id": said["id"], "result": None}
        try:
            if said["call"] == "arm":
                faults.arm(*said["with"])
            else:
                answer["result"] = await getattr(host, said["call"])(*said["with"])
        except RlmError as error:
            answer["error"] = error_said(error)
        writer.write(json.dumps(answer).encode() + b"\n")

    tasks = set[asyncio.Task[None]]()

    connected = asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]]()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.put_nowait((reader, writer))

    async with await asyncio.start_unix_server(take, told["socket"], limit=LINE_BYTES):
        print("ready", flush=True)
        reader, writer = await connected.get()
        while line := await reader.readline():
            task = asyncio.create_task(one(json.loads(line), writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    await host.close()
    await shared.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
