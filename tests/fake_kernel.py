"""A kernel without a process: what `session/` has of one, at the speed of a function call.

Is: a kernel for unit tests of places, idle stops, snapshots' states, cancellation and delivery. Its half that a
placement gives (`StartedKernel`) is the fake's own; its client is the real one, with the fake at the other end of its
three connections. So it stands at the seam of `KernelStarter`: behind a `Placement` alone it would need the sockets of
a process, and jupyter_client's manager, which other tests have. Is not: IPython, walls, or an adversary
(`tests/escape/host/program/fake_kernel.py`): a step's code runs here, in a dict.

A step is any Python of JSON values, or `FOREVER`, or `DIES`; a value `FATAL` ends the kernel into which it comes back.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from rlm_kernel_mcp.kernel.client import KernelClient
from rlm_kernel_mcp.kernel.kernel import Kernel
from rlm_kernel_mcp.kernel.placement.builder import effective_policy
from rlm_kernel_mcp.kernel.placement.kernelspec import locked_kernelspec
from rlm_kernel_mcp.kernel.placement.run_dir import RunDir
from rlm_kernel_mcp.kernel.starter import KernelStarter
from rlm_kernel_mcp.policy import Policy
from rlm_kernel_mcp.session.carrying.durable import Durable
from rlm_kernel_mcp.session.kernels.slots import KernelSlots
from rlm_kernel_mcp.session.registry import Registry
from rlm_kernel_mcp.settings import Settings, load_settings
from rlm_kernel_mcp.store.store import Store
from rlm_kernel_mcp.wire import DELIMITER, INLINE_SNAPSHOT, REPLY_KEY
from tests.sessions import WAIT_S, SessionDriver

FOREVER: Final = "while True: pass"
DIES: Final = "os._exit(3)"
FATAL: Final = "ends the kernel into which it comes back"
GRACE_MS: Final = 50
EDGE_CHARS: Final = 400
CELL: Final = {"msg_id": "a cell", "session": "a console"}
"""The header of the request of a console's cell."""
OFFERED: Final = dict.fromkeys(("context", "documents", "scratch"), "a line on it")
pids: Final = itertools.count(1_000_000_000)
"""No process has such a number."""


class FakeProcess:
    """`base.HostProcess`: SIGKILL ends it, and other signals are the kernel's to hear."""

    def __init__(self, on_signal: Callable[[int], None]) -> None:
        self.pid = next(pids)
        self.returncode: int | None = None
        self.dead: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.cpu = 1
        self._on_signal = on_signal

    def end(self, code: int) -> None:
        """It has ended."""
        if self.returncode is None:
            self.returncode = code
            self.dead.set_result(code)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is None
        assert self.returncode is not None
        return self.returncode

    async def ended(self) -> int:
        return await asyncio.shield(self.dead)

    def send_signal(self, signum: int) -> None:
        if self.returncode is None:
            self._on_signal(signum)
            if signum == signal.SIGKILL:
                self.end(-signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def give_way(self) -> None:
        raise AssertionError("it has one thread")

    def cpu_ms(self) -> int:
        return 0 if self.dead.done() else self.cpu

    def memory_bytes(self) -> int:
        return 0

    def thread_count(self) -> int:
        return 1


def all_of(text: str) -> tuple[bytes, dict[str, Any]]:
    """As an honest kernel sends a long text."""
    return text.encode("utf-8", "surrogatepass"), {"chars": len(text)}


class Channel:
    """In place of one of the client's connections: frames go to the kernel, and its own come back."""

    on_message: Callable[[list[bytes]], None]

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._is_open = True
        self.reader = SimpleNamespace(message_bytes_max=0)

    def grant(self) -> None:
        """Read on."""

    async def open(self, path: str) -> None:
        if path.endswith("-2"):
            self.say("iopub_welcome", {}, {})

    def send(self, frames: Sequence[bytes]) -> None:
        asyncio.get_running_loop().call_soon(self._kernel.take, self, list(frames))

    def say(self, msg_type: str, content: object, parent: object, *buffers: bytes) -> None:
        parts = [json.dumps(part).encode() for part in ({"msg_type": msg_type}, parent, {}, content)]
        asyncio.get_running_loop().call_soon(self._hear, [DELIMITER, b"", *parts, *buffers])

    def _hear(self, frames: list[bytes]) -> None:
        if self._is_open:
            self.on_message(frames)

    def close(self) -> None:
        self._is_open = False


class FakeKernel:
    """`base.StartedKernel`, and what is at the other end of its client."""

    def __init__(self) -> None:
        self.process = FakeProcess(self._on_signal)
        self.client = KernelClient(b"key")
        self.shell, self.control, self.iopub = channels = Channel(self), Channel(self), Channel(self)
        self.client._shell, self.client._control, self.client._iopub = cast(Any, channels)
        self.names: dict[str, Any] = {}
        self.context = ""
        self.deaf: set[str] = set()
        """Types of messages, and names of signals, that are never answered."""
        self.sends: Callable[[str], tuple[bytes, dict[str, Any]]] = all_of
        """What goes through the pipe of a long text, and what is said of it."""
        self.says: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}
        """By type of request what it answers instead, made of what was asked."""
        self.large = False
        """Whether a snapshot does not fit one message."""
        self.used: dict[str, Any] = {}
        """What it says that a step has done with the functions that explore the texts."""
        self.heard: list[str] = []
        """Types of messages, and names of signals, in the order in which they came."""
        self._unanswered: list[tuple[Channel, list[bytes]]] = []
        self._passed: list[int] = []
        self._held: list[int] = []
        """Its end of the channel for questions, over which it asks nothing."""
        self._running: tuple[dict[str, Any], dict[str, Any] | None] | None = None
        """Header of the step's request, and what asks for its snapshot."""

    async def ready(self) -> list[dict[str, Any]]:
        return []

    def pass_descriptor(self, descriptor: int, *, shell: bool = False) -> None:  # noqa: ARG002 (it has one thread)
        self._passed.append(os.dup(descriptor))

    def abandon(self) -> None:
        self.process.kill()

    def close(self) -> None:
        while self._passed or self._held:
            os.close((self._passed or self._held).pop())

    def take(self, channel: Channel, frames: list[bytes]) -> None:
        """One request."""
        header, metadata, content = (json.loads(frames[2 + part]) for part in (0, 2, 3))
        kind = header["msg_type"]
        self.heard.append(kind)
        if kind in self.deaf:
            self._unanswered.append((channel, frames))
            return
        if self.process.dead.done():
            return
        if kind == "execute_request":
            self._run(header, content["code"], metadata)
        else:
            answer, *buffers = self._answer(kind, content, frames[6:])
            if not self.process.dead.done():
                channel.say(kind.replace("request", "reply"), {"status": "ok", **answer}, header, *buffers)

    def answer_now(self) -> None:
        """Answer what was not answered so far, and all that comes."""
        self.deaf.clear()
        while self._unanswered:
            self.take(*self._unanswered.pop(0))

    def begin_cell(self, code: str) -> None:
        """A person runs a cell in an attached console."""
        self.iopub.say("execute_input", {"code": code, "execution_count": 1}, CELL)

    def end_cell(self) -> None:
        """It has ended."""
        self.iopub.say("status", {"execution_state": "idle"}, CELL)

    def _run(self, header: dict[str, Any], code: str, metadata: dict[str, Any]) -> None:
        self._running = header, metadata.get(REPLY_KEY)
        if code == DIES:
            self.process.end(3)
        elif code == FOREVER:
            self.iopub.say("stream", {"name": "stdout", "text": "begun\n"}, header)
        else:
            before = {name: json.dumps(value) for name, value in self.names.items()}
            reply: dict[str, Any] = {"status": "ok"}
            try:
                if (result := _evaluated(code, {"context": self.context}, self.names)) is not None:
                    self.iopub.say("execute_result", {"data": {"text/plain": repr(result)}}, header)
            except Exception as error:  # noqa: BLE001  (the step's own)
                reply = {"status": "error", "ename": type(error).__name__, "evalue": str(error)}
            self._end_step(reply, [name for name in self.names if json.dumps(self.names[name]) != before.get(name)])

    def _end_step(self, reply: dict[str, Any], bound: Sequence[str]) -> None:
        """Reply, come to rest, and send the snapshot that was asked for."""
        assert self._running is not None
        (header, asked), self._running = self._running, None
        updated = [[name, type(self.names[name]).__name__, None] for name in bound]
        unchanged = asked is not None and asked["after"] is not None and not bound
        told = {"updated": updated, "dropped": {}, "unchanged": unchanged, "used": self.used}
        self.shell.say("execute_reply", {**reply, REPLY_KEY: told}, header)
        self.iopub.say("status", {"execution_state": "idle"}, header)
        if asked is not None and not unchanged and INLINE_SNAPSHOT not in self.deaf:
            if self.large:
                self.shell.say(INLINE_SNAPSHOT, {"status": "too_large"}, header)
            else:
                self.shell.say(INLINE_SNAPSHOT, {"status": "ok", **self._account()}, header, self._stream())

    def _on_signal(self, signum: int) -> None:
        self.heard.append(signal.Signals(signum).name)
        if signum == signal.SIGINT and self._running is not None and "SIGINT" not in self.deaf:
            self._end_step({"status": "error", "ename": "KeyboardInterrupt", "evalue": ""}, [])

    def _answer(self, kind: str, content: dict[str, Any], buffers: list[bytes]) -> tuple[Any, ...]:
        """The reply to one of our own requests, and its buffers (`wire.py`)."""
        answer: tuple[Any, ...]
        match kind:
            case _ if kind in self.says:
                answer = (self.says[kind](content),)
            case "rlm_load_context_request" if content["source"] == "gone":
                answer = (self.without_context(),)
            case "rlm_load_context_request":
                answer = self._load(self._read() if content["source"] == "descriptor" else buffers[1])
            case "rlm_subcalls_request":
                self._held.append(self._passed.pop(0))
                answer = ({},)
            case "rlm_names_request":
                rows = [[name, type(value).__name__, None] for name, value in self.names.items()]
                answer = {}, json.dumps(rows).encode()
            case "rlm_get_var_request":
                answer = self._variable({"context": self.context, **self.names}, content)
            case "rlm_snapshot_request":
                with os.fdopen(self._passed.pop(0), "wb") as pipe:
                    pipe.write(self._stream())
                answer = (self._account(),)
            case "rlm_send_text_request":
                data, said = self.sends(self.names[content["name"]])
                with suppress(BrokenPipeError), os.fdopen(self._passed.pop(0), "wb") as pipe:
                    pipe.write(data)
                answer = (said,)
            case "rlm_restore_request":
                answer = (self._restore(self._read(), content["items"]),)
            case _:  # the others ask for what is enough if it is empty
                answer = ({},)
        return answer

    def without_context(self) -> dict[str, Any]:
        """What it says where it is to have no context."""
        return {"names": OFFERED, "unbound": ["context", "documents"]}

    def _load(self, data: bytes) -> tuple[dict[str, Any]]:
        text = self.context = data.decode()
        edges = {"head": text[:EDGE_CHARS], "tail": text[-EDGE_CHARS:]}
        return ({"chars": len(text), "lines": 1, "documents": [len(text)], "names": OFFERED, **edges},)

    def _variable(self, names: dict[str, Any], asked: dict[str, Any]) -> tuple[Any, ...]:
        if asked["name"] not in names:
            return ({"status": "error", "ename": "KeyError", "evalue": asked["name"]},)
        value = names[asked["name"]]
        kind, is_text = type(value).__name__, isinstance(value, str)
        said = {"name": asked["name"], "type": kind, "size": None, "whole": True, "own": True}
        text = value if is_text and asked["as_text"] else json.dumps(value)
        shown = text[asked["offset"] : asked["offset"] + asked["limit"]] if asked["as_text"] else text
        return {**said, "json": not asked["as_text"], "total_chars": len(text)}, shown.encode("utf-8", "surrogatepass")

    def _account(self) -> dict[str, Any]:
        rows = {name: {"type": type(value).__name__, "why": None} for name, value in self.names.items()}
        return {"names": rows, "unverified": [], "more": 0}

    def _stream(self) -> bytes:
        """Every value; the format is `kernel/untrusted/snapshot_stream.py`'s."""
        stream = b""
        for name, value in self.names.items():
            head = json.dumps({"name": name, "type": type(value).__name__}).encode()
            data = json.dumps(value).encode()
            stream += b"N " + head + b"\n" + len(data).to_bytes(4, "big") + data + bytes(4)
        return stream

    def _restore(self, file: bytes, items: list[dict[str, Any]]) -> dict[str, Any]:
        for item in items:
            value = json.loads(file[item["offset"] : item["offset"] + item["bytes"]])
            if value == FATAL:
                self.process.end(-signal.SIGSEGV)
            self.names[item["name"]] = value
        return {"names": {item["name"]: None for item in items}}

    def _read(self) -> bytes:
        with os.fdopen(self._passed.pop(0), "rb") as file:
            return file.read() if file.seek(0) == 0 else b""


def _evaluated(code: str, context: dict[str, Any], names: dict[str, Any]) -> object:
    try:
        expression = compile(code, "<step>", "eval")
    except SyntaxError:
        exec(code, context, names)
        return None
    return eval(expression, context, names)


class FakeStarter:
    """In place of `KernelStarter`: the kernels that were started, and what is done to the next ones."""

    def __init__(self, settings: Settings, run_dir: RunDir) -> None:
        policy = effective_policy(locked_kernelspec(settings.kernel), settings.of_kernel()).model_dump()
        policy["pool"]["spare_kernels"], policy["interrupt_grace_ms"] = 0, GRACE_MS
        self.policy = Policy.model_validate(policy)
        self.kernels: list[FakeKernel] = []
        self.prepare: Callable[[FakeKernel], object] = lambda kernel: None
        """Called with each before it is handed out."""
        self._run_dir = run_dir

    async def start(self) -> Kernel:
        """As `KernelStarter.start`."""
        fake = FakeKernel()
        self.kernels.append(fake)
        self.prepare(fake)
        directories, client = self._run_dir.kernel_dir(), fake.client
        try:
            await client.open({"ip": directories.socket_stem, "shell_port": 1, "iopub_port": 2, "control_port": 5})
        except BaseException:
            fake.process.kill()
            directories.remove()
            raise
        return Kernel.joined(fake, client, directories, [])

    def stop(self) -> None:
        """None of its starts waits for anything."""

    def close(self) -> None:
        """Nothing outlives it."""


@dataclass(frozen=True)
class Fakes:
    """A registry over kernels without processes."""

    registry: Registry
    starter: FakeStarter

    @property
    def kernels(self) -> list[FakeKernel]:
        """All that were started, in their order."""
        return self.starter.kernels

    async def open(self, context: str = "some text") -> tuple[SessionDriver, FakeKernel]:
        """A session and its kernel."""
        session = await SessionDriver.open(self.registry, context)
        return session, self.kernels[-1]


class OneRegistry:
    """The one registry of a host (`Registries`)."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def registry_for(self, _settings: Settings) -> Registry:
        """It."""
        return self._registry

    async def of_session(self, _settings: Settings, _session_id: str) -> Registry:
        """It."""
        return self._registry


@asynccontextmanager
async def fake_registry(state_dir: Path, durable: Durable | None = None, **variables: str) -> AsyncIterator[Fakes]:
    """A registry of which nothing but the kernels is a fake. It does nothing by itself: no spare, no idle watch."""
    fakes = fakes_of(load_settings(Path.cwd(), {"RLM_STATE_DIR": str(state_dir), **variables}), durable=durable)
    try:
        yield fakes
    finally:
        async with asyncio.timeout(WAIT_S):
            await fakes.registry.close()


def fakes_of(settings: Settings, slots: KernelSlots | None = None, durable: Durable | None = None) -> Fakes:
    """Such a registry, which the caller closes."""
    run_dir = RunDir.create()
    starter = FakeStarter(settings, run_dir)
    store = Store.open(settings.state_dir)
    registry = Registry(settings, run_dir, cast(KernelStarter, starter), store, slots, durable=durable)
    return Fakes(registry, starter)
