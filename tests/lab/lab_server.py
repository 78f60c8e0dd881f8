"""JupyterLab's own server, driven as its page drives it: kernels over REST, channels over a WebSocket.

Source: the Jupyter Server REST API, and the default kernel WebSocket protocol (JSON text frames).
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from tests.lab.home import WAIT_S, Home

TOKEN: Final = "t0ken"
LISTENS: Final = re.compile(r"http://127\.0\.0\.1:\d+/")
Message = dict[str, Any]


class LabServer:
    """A running `jupyter lab`, and what its page would ask it."""

    def __init__(self, url: str, token: str = TOKEN) -> None:
        self.url, self.token = url, token

    @property
    def headers(self) -> dict[str, str]:
        """Who may ask it has its token."""
        return {"Authorization": f"token {self.token}"}

    async def listens(self) -> bool:
        """Whether it answers."""
        try:
            await self.ask("GET", "status")
        except ConnectionRefusedError:
            return False
        return True

    async def ask(self, method: str, path: str, /, **body: Any) -> Any:
        """One request of the REST API; what it answers."""
        request = HTTPRequest(
            f"{self.url}api/{path}",
            method=method,
            headers=self.headers,
            body=json.dumps(body) if method in ("POST", "PUT") else None,
            request_timeout=WAIT_S,
        )
        response = await AsyncHTTPClient().fetch(request)
        return json.loads(response.body) if response.body else None

    @asynccontextmanager
    async def kernel(self, name: str) -> AsyncIterator[LabKernel]:
        """A kernel, started and shut down as the page does it."""
        kernel_id = (await self.ask("POST", "kernels", name=name))["id"]
        try:
            kernel = LabKernel(self, kernel_id)
            await kernel.connect()
            yield kernel
            kernel.close()
        finally:
            await self.ask("DELETE", f"kernels/{kernel_id}")
        assert kernel_id not in [one["id"] for one in await self.ask("GET", "kernels")]


class LabKernel:
    """One kernel of the server's, by its WebSocket."""

    def __init__(self, server: LabServer, kernel_id: str) -> None:
        self.server = server
        self.kernel_id = kernel_id
        self._session = uuid.uuid4().hex
        self._socket: WebSocketClientConnection | None = None

    async def connect(self) -> None:
        """Open the channels."""
        url = f"{self.server.url.replace('http', 'ws', 1)}api/kernels/{self.kernel_id}/channels"
        request = HTTPRequest(f"{url}?session_id={self._session}", headers=self.server.headers, request_timeout=WAIT_S)
        self._socket = await websocket_connect(request, max_message_size=64 << 20)

    def close(self) -> None:
        """Close the channels."""
        assert self._socket is not None
        self._socket.close()

    async def send(self, msg_type: str, content: Message, channel: str = "shell") -> str:
        """Send a request; its id."""
        msg_id = uuid.uuid4().hex
        header = {"msg_id": msg_id, "msg_type": msg_type, "session": self._session, "username": "u", "version": "5.4"}
        assert self._socket is not None
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel}
        await self._socket.write_message(json.dumps(message))
        return msg_id

    async def messages(self) -> AsyncIterator[Message]:
        """All that comes, until the server closes the channels."""
        assert self._socket is not None
        async with asyncio.timeout(WAIT_S):
            while (frame := await self._socket.read_message()) is not None:
                yield json.loads(frame)

    async def messages_of(self, msg_id: str) -> AsyncIterator[Message]:
        """What answers a request, in the order in which it comes, without an end of its own."""
        async for message in self.messages():
            if message["parent_header"].get("msg_id") == msg_id:
                yield message

    async def ask(self, msg_type: str, **content: Any) -> Message:
        """A request with one reply; its content."""
        return (await self.whole(await self.send(msg_type, content)))[1]

    async def execute(self, code: str, **content: Any) -> tuple[list[Message], Message]:
        """Run a cell: its iopub messages, and its reply's content."""
        request = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": True}
        return await self.whole(await self.send("execute_request", {**request, "stop_on_error": True, **content}))

    async def whole(self, msg_id: str) -> tuple[list[Message], Message]:
        """All that answers a request, up to its reply and `idle`; an `input_request` is answered with `typed`."""
        said: list[Message] = []
        reply: Message | None = None
        idle = False
        async for message in self.messages_of(msg_id):
            if message["channel"] == "shell":
                reply = message["content"]
            elif message["channel"] == "stdin":
                await self.send("input_reply", {"value": "typed", "status": "ok"}, "stdin")
            elif message["content"].get("execution_state") == "idle":
                idle = True
            else:
                said.append(message)
            if idle and reply is not None:
                return said, reply
        raise AssertionError("the channels were closed")


@asynccontextmanager
async def lab_server(home: Home, *more: str) -> AsyncIterator[LabServer]:
    """A `jupyter lab` of this home's user, ended at the end; what it said is shown where a test fails.

    `more`: options beside those that every test needs.
    """
    options = (
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port=0",
        f"--IdentityProvider.token={TOKEN}",
        # It would look for every editor's server that there may be, with a run of node, as its first kernel starts.
        "--LanguageServerManager.autodetect=False",
    )
    command = home.command("jupyter", "lab", *options, "--LabApp.extension_manager=readonly", *more)
    is_bare = False

    def end(process: asyncio.subprocess.Process) -> None:
        """One without a kernel has nothing to put in order, which takes a second of a processor, or a minute."""
        if is_bare:
            process.kill()
        else:
            process.terminate()

    async with listening(command, home.env, home.directory, LISTENS, end) as said:
        server = LabServer(said[0])
        await until_it_answers(server)
        yield server
        is_bare = await server.ask("GET", "kernels") == []


@asynccontextmanager
async def listening(
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    says: re.Pattern[str],
    end: Callable[[asyncio.subprocess.Process], None] = asyncio.subprocess.Process.terminate,
) -> AsyncIterator[re.Match[str]]:
    """A server's program, once it says where it listens; ended at the end. Its output is shown where a test fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    said: asyncio.Future[re.Match[str]] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read(process, says, said))
    try:
        async with asyncio.timeout(WAIT_S):
            found = await said
        yield found
    finally:
        if process.returncode is None:
            end(process)
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(reading, process.wait())


async def until_it_answers(server: LabServer) -> None:
    """A server says where it listens a moment before it does."""
    async with asyncio.timeout(WAIT_S):
        while not await server.listens():  # noqa: ASYNC110  (its answer is what is waited for)
            await asyncio.sleep(0)


async def _read(
    process: asyncio.subprocess.Process, says: re.Pattern[str], said: asyncio.Future[re.Match[str]]
) -> None:
    """Read what the server says, to its end; where it listens is in it."""
    assert process.stdout is not None
    async for line in process.stdout:
        text = line.decode("utf-8", "replace")
        print(text, end="")
        found = says.search(text)
        if found is not None and not said.done():
            said.set_result(found)
    if not said.done():
        said.set_exception(AssertionError("the server ended before it listened"))
