"""Nodes in processes of their own, and one session on them, as a router would ask: each wait is bounded.

Is: starting, killing, stopping them, their methods from here, and a session's calls in the tools' own form. Is not: a
router: a test says itself where a session goes.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rlm_kernel_mcp.cluster.node.host import NodeHost
from rlm_kernel_mcp.cluster.node.messages import Answer, Asked, Calling, Load
from rlm_kernel_mcp.cluster.node.moves import NodeMoves
from rlm_kernel_mcp.cluster.shared.opening import open_store
from rlm_kernel_mcp.doors.wire.messages import error_heard
from rlm_kernel_mcp.errors import NodeLost
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import load_settings
from rlm_kernel_mcp.variables.cluster import load_cluster_settings
from tests.parts import ROOT

WAIT_S: Final = 60.0
LINE_BYTES: Final = 1 << 28
CALLER: Final = Calling("a test", "tests 1").text()
AMPLE: Final = {"max_steps": 100_000, "budget_limit": 10**9, "max_runtime_ms": 10**7}


class Asking:
    """A node's methods, and a session's calls in the tools' own form."""

    async def call(self, verb: str, arguments: str, caller: str = CALLER) -> str:
        raise NotImplementedError

    async def load(self) -> str:
        raise NotImplementedError

    async def fullness(self) -> Load:
        """What `load` says."""
        return Load.of(await self.load())

    # --- tools ------------------------------------------------------------------------------------

    async def tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The object of a tool's answer. Raises: what the node answers instead."""
        text = await self.call(f"tool:{name}", Asked(arguments).text())
        found: dict[str, Any] = Answer(text).value()["structuredContent"]
        return found

    async def data(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The same of a call that goes well."""
        body = await self.tool(name, **arguments)
        assert body["ok"], body
        data: dict[str, Any] = body["data"]
        return data

    async def opened(self, text: str = "some text") -> str:
        """A new session."""
        session_id: str = (await self.data("rlm_init_context", context_text=text, **AMPLE))["session_id"]
        return session_id

    async def lost_step(self, session_id: str, code: str) -> dict[str, Any]:
        """The report of a step that was in flight on a node that is lost."""
        asked = Asked({"session_id": session_id, "code": code}, is_lost=True)
        body: dict[str, Any] = Answer(await self.call("tool:rlm_run_repl", asked.text())).value()["structuredContent"]
        assert body["ok"], body
        data: dict[str, Any] = body["data"]
        return data

    async def step(self, session_id: str, code: str) -> dict[str, Any]:
        """A step's report."""
        return await self.data("rlm_run_repl", session_id=session_id, code=code, wait_ms=int(WAIT_S * 1000))


@dataclass(eq=False)
class RemoteNode(Asking):
    """One process, with the methods of a node."""

    name: str
    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    hearing: asyncio.Task[None] | None = None
    count: int = 0
    is_lost: bool = False

    async def hear(self) -> None:
        """Hand out the answers as they come; at the end every call is lost."""
        try:
            while line := await self.reader.readline():
                said = json.loads(line)
                if (answer := self.asked.pop(said["id"], None)) is not None and not answer.done():
                    answer.set_result(said)
        except ConnectionError:
            pass
        self.lose()

    def lose(self) -> None:
        """Nobody waits for its answers any more, and asks it nothing."""
        self.is_lost = True
        for answer in self.asked.values():
            if not answer.done():
                answer.set_exception(NodeLost(f"Node {self.name} is gone."))

    async def ask(self, call: str, *given: Any) -> Any:
        """What one of its methods gives. Raises: what that raises; NodeLost."""
        if self.is_lost:
            raise NodeLost(f"Node {self.name} is gone.")
        self.count += 1
        answer = self.asked[self.count] = asyncio.get_running_loop().create_future()
        self.writer.write(json.dumps({"id": self.count, "call": call, "with": given}).encode() + b"\n")
        async with asyncio.timeout(WAIT_S):
            said = await answer
        if "error" in said:
            raise error_heard(said["error"])
        return said["result"]

    async def call(self, verb: str, arguments: str, caller: str = CALLER) -> str:
        text: str = await self.ask("call", verb, arguments, caller)
        return text

    async def adopt(self, session_id: str, epoch: int) -> None:
        await self.ask("adopt", session_id, epoch)

    async def release(self, session_id: str) -> None:
        await self.ask("release", session_id)

    async def load(self) -> str:
        text: str = await self.ask("load")
        return text

    async def drain(self) -> None:
        await self.ask("drain")

    async def arm(self, line: str, times: int = 1, how: str = "kill") -> None:
        """Have it end, or fail, on a line of the store."""
        await self.ask("arm", line, times, how)

    # --- what becomes of it -------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        """Send it a signal, if it is there."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def killed(self) -> None:
        """Kill it, and return when it is gone."""
        self.signal(signal.SIGKILL)
        await self.gone()

    async def gone(self) -> None:
        """Return when it is gone."""
        async with asyncio.timeout(WAIT_S):
            await self.process.wait()
            if self.hearing is not None:
                await asyncio.wait({self.hearing})


class NodeHere(Asking):
    """A node in this process, whose store fails when a test says so."""

    def __init__(self, host: NodeHost, faults: StoreFaults) -> None:
        self.host, self.faults = host, faults

    async def call(self, verb: str, arguments: str, caller: str = CALLER) -> str:
        async with asyncio.timeout(WAIT_S):
            return await self.host.call(verb, arguments, caller)

    async def load(self) -> str:
        return await self.host.load()

    async def adopt(self, session_id: str, epoch: int) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.host.adopt(session_id, epoch)

    async def release(self, session_id: str) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.host.release(session_id)

    @property
    def registry(self) -> Registry:
        """Its own, to look at what no router sees."""
        assert self.host._parts is not None
        return self.host._parts.registry

    @property
    def moves(self) -> NodeMoves:
        """How sessions come and go there."""
        assert self.host._parts is not None
        return self.host._parts.moves

    async def let_nothing_follow(self) -> None:
        """From now on, no value comes to the store that an answer did not wait for."""
        assert self.host._parts is not None
        await self.host._parts.replication._following.acquire()

    def behind(self, session_id: str) -> bool:
        """Whether something of a session is on its way to the store."""
        assert self.host._parts is not None
        return self.host._parts.replication._sessions[session_id].is_behind


class StoreFaults:
    """What the lines of a store do, by their names."""

    def __init__(self) -> None:
        self.errno = 0
        self.held = threading.Event()
        """Who comes to `before_write` waits until it is set."""
        self.held.set()

    def __call__(self, line: str) -> None:
        if line == "before_write":
            self.held.wait(WAIT_S)
        if line == "before_write" and self.errno:
            raise OSError(self.errno, os.strerror(self.errno))


@asynccontextmanager
async def here(directory: Path, *names: str, **variables: str) -> AsyncIterator[list[NodeHere]]:
    """Nodes of this process, each with a way of its own to the shared store."""
    async with AsyncExitStack() as ends:
        found = []
        for name in names:
            environ = environ_of(directory, name, **variables)
            faults = StoreFaults()
            shared = open_store(environ["RLM_CLUSTER_STORE"], faults=faults)
            ends.push_async_callback(shared.close)
            host = NodeHost(load_settings(ROOT, environ), load_cluster_settings(environ), shared)
            await host.open()
            ends.push_async_callback(host.close)
            ends.callback(faults.held.set)
            found.append(NodeHere(host, faults))
        yield found


def environ_of(directory: Path, name: str, **variables: str) -> dict[str, str]:
    """What a node is told."""
    return {
        "HOME": str(directory),
        "RLM_STATE_DIR": str(directory / "state"),
        "RLM_CLUSTER_NODE": name,
        "RLM_CLUSTER_STORE": str(directory / "shared"),
        "RLM_MEMORY_LIMIT_MB": "128",
        **variables,
    }


@asynccontextmanager
async def started(directory: Path, name: str, *, behind_s: int = 0) -> AsyncIterator[RemoteNode]:
    """A node whose shared store and state lie below a directory. `behind_s`: how much its clock is late."""
    socket = str(directory / f"{name}.socket")
    environ = environ_of(directory, name)
    told = json.dumps({"environ": environ, "socket": socket, "behind_s": behind_s})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cluster.node.program", told), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    node: RemoteNode | None = None
    try:
        async with asyncio.timeout(WAIT_S):
            assert await process.stdout.readline() == b"ready\n"
            reader, writer = await asyncio.open_unix_connection(socket, limit=LINE_BYTES)
        node = RemoteNode(name, process, reader, writer)
        node.hearing = asyncio.create_task(node.hear())
        yield node
    finally:
        if node is not None:
            node.writer.close()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            try:
                async with asyncio.timeout(WAIT_S):
                    await process.wait()
            except TimeoutError:
                process.kill()


@asynccontextmanager
async def cluster(directory: Path, names: Sequence[str] = ("n0", "n1", "n2")) -> AsyncIterator[list[RemoteNode]]:
    """Several."""
    async with AsyncExitStack() as ends:
        starting = (ends.enter_async_context(started(directory, name)) for name in names)
        yield await asyncio.gather(*starting)
