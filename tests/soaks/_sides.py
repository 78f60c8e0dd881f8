"""The server of a checkout, an older one too, with a neighbour's session in it whose reads are timed.

Is: how the attacks of `_attacks.py` are played, by whoever's server. Is not: the attacks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.kernel.clients.test_one_kernel_for_both import PROGRAM
from tests.mcp.line_client import LineClient
from tests.rights import NOBODY, in_own_mounts
from tests.specs import write_spec

LIMITS: Final = {"max_steps": 10_000, "max_runtime_ms": 3_600_000, "budget_limit": 1_000_000_000}
PATIENCE_S: Final = 15.0
"""How long an answer is waited for."""
WORK_S: Final = 4.0
"""Of a session that may work for 1.5 s: more is harm, and twice as much is enough to see it."""
CALM_READS: Final = 100
"""Before an attack."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an attack did."""

    harm: bool
    text: str
    read_ms: float = 0.0
    """A neighbour's worst read meanwhile."""
    reads: int = 0
    calm_ms: float = 0.0
    """The worst of some before the attack: what the machine alone does."""
    starved_ms: float = 0.0
    """Of the worst read, how long the server's thread could have run and had no processor."""


class Server:
    """One server, and the neighbour."""

    def __init__(self, client: LineClient, side: Side) -> None:
        self.client, self.side = client, side
        client.wait_s = PATIENCE_S
        client.initialize()
        self.waits_ms: list[float] = []
        self.own_ms: list[float] = []
        """The same without the time in which the server's thread had no processor."""
        self.starved_ms = 0.0
        self.neighbour = self.open()
        self.data(self.step(self.neighbour, "mine = 'kept'"))
        self.calm_ms = max(self.read() for _ in range(CALM_READS))
        self.forget_waits()
        self.process = psutil.Process(client.process.pid)

    def open(self, **limits: int) -> str:
        return self.client.open_session("some text", **(LIMITS | limits))

    def run(self, session: str, code: str, **arguments: Any) -> dict[str, Any]:
        """`data` of a step, while which the neighbour reads."""
        request = self.step(session, code, **arguments)
        self.read_until(request, 120.0)
        return self.data(request)

    def step(self, session: str, code: str, **arguments: Any) -> int:
        """Begin a step."""
        given = {"session_id": session, "code": code, "wait_ms": 50_000, **arguments}
        return self.client.begin("rlm_run_repl", given)

    def call(self, tool: str, **arguments: Any) -> int:
        """Begin a call."""
        return self.client.begin(tool, arguments)

    def data(self, request: int) -> dict[str, Any]:
        """`data` of an answer."""
        data: dict[str, Any] = self.body(request)["data"]
        return data

    def body(self, request: int) -> dict[str, Any]:
        """What a call was answered, refusals too."""
        body: dict[str, Any] = self.client.result(request)["structuredContent"]
        return body

    def end_of(self, session: str, request: int) -> dict[str, Any]:
        """`data` of a step when it has ended, however long it takes."""
        data = self.data(request)
        while data["status"] == "running":
            given = {"session_id": session, "step_index": data["step_index"], "wait_ms": 10_000}
            data = self.client.data("rlm_await_step", max_output_chars=100, **given)
        return data

    def answered(self, request: int) -> bool:
        """Whether the answer has come."""
        return any(message.get("id") == request for message in self.client.seen)

    def read(self) -> float:
        """One read of the neighbour's; how long it took, in ms."""
        began, starved = time.perf_counter(), starved_ms(self.client.process.pid)
        self.client.call("rlm_get_var", session_id=self.neighbour, var_name="mine")
        took = (time.perf_counter() - began) * 1_000
        starved = starved_ms(self.client.process.pid) - starved
        if took > max(self.waits_ms, default=0.0):
            self.starved_ms = starved
        self.waits_ms.append(took)
        self.own_ms.append(took - starved)
        return took

    def forget_waits(self) -> None:
        """What comes now counts."""
        self.waits_ms.clear()
        self.own_ms.clear()
        self.starved_ms = 0.0

    def read_until(self, request: int, bound_s: float = PATIENCE_S) -> bool:
        """The neighbour reads again and again until a call is answered; whether it was within the bound."""
        ends = time.monotonic() + bound_s
        while not self.answered(request) and time.monotonic() < ends:
            self.read()
        return self.answered(request)

    def read_for(self, seconds: float) -> None:
        """The neighbour reads again and again so long."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            self.read()

    def kernels(self) -> list[psutil.Process]:
        """Every process below the server, the kernels among them."""
        return list(self.process.children(recursive=True))

    def most_threads(self) -> int:
        """Of any of them."""
        return max(threads(process) for process in self.kernels())

    def largest_kernel_bytes(self) -> int:
        """Resident, of any of them."""
        return max(resident(process) for process in self.kernels())

    def most_processor_s(self) -> float:
        """That any of them has used."""
        return max(processor_s(process) for process in self.kernels())

    def all_processor_s(self) -> float:
        """That all of them have used."""
        return sum(processor_s(process) for process in self.kernels())

    def status_after_work(self, session: str) -> str:
        """What a session is that goes on working: `stopped`, or what it is after so many seconds of work."""
        before, ends = self.all_processor_s(), time.monotonic() + 30
        while True:
            self.read_for(0.3)
            rows = self.client.data("rlm_list_sessions")["sessions"]
            (status,) = (str(row["status"]) for row in rows if row["session_id"] == session)
            used = self.all_processor_s() - before
            if status == "stopped" or (time.monotonic() > ends and used < WORK_S):
                return status
            if used >= 2 * WORK_S or time.monotonic() > ends:
                return f"{status}, and all kernels worked for {used:.0f} s"

    def connection_file(self, session: str) -> Path:
        """As `attach` finds it."""
        argv = [*self.side.module(), "attach", session, "--print"]
        done = subprocess.run(argv, env=self.client.env, capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    def seen(self, text: str, *, harm: bool) -> Seen:
        """With the neighbour's waits."""
        return Seen(harm, text, max(self.waits_ms, default=0.0), len(self.waits_ms), self.calm_ms, self.starved_ms)


def starved_ms(pid: int) -> float:
    """How long a process's first thread has waited for a processor so far; 0 where the system does not count it."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e6
    except (OSError, IndexError):
        return 0.0


def threads(process: psutil.Process) -> int:
    try:
        return int(process.num_threads())
    except psutil.Error:
        return 0


def resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def processor_s(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:2]))
    except psutil.Error:
        return 0.0


@dataclass(frozen=True, slots=True)
class Side:
    """A checkout, a tier and a user."""

    name: str
    root: Path
    old: bool
    tier: str = "ns"
    user: int | None = None

    def in_tier(self, tier: str) -> Side:
        return dataclasses.replace(self, tier=tier)

    def as_nobody(self) -> Side:
        return dataclasses.replace(self, user=NOBODY)

    @property
    def python(self) -> str:
        return str(self.root / ".venv" / "bin" / "python")

    def module(self) -> list[str]:
        """What the package's commands begin with."""
        return [self.python, "-I", "-m", "rlm_kernel_mcp"]

    def argv(self) -> tuple[str, ...]:
        """What starts the server."""
        program = self.root / "tests/escape/walls/program/serve_without_namespaces.py"
        serve = [*self.module(), "serve"] if self.tier == "ns" else [self.python, "-I", str(program), "serve"]
        return (*become(self.user, self.python), *serve)

    @contextlib.contextmanager
    def server(self, policy: Mapping[str, Any] | None = None, **settings: str) -> Iterator[Server]:
        """A server, every module importable. `policy`: changes of the kernelspec's."""
        with tempfile.TemporaryDirectory(prefix="rlm-ctl-") as name:
            directory = Path(name)
            (directory / "work").mkdir()
            (directory / "work.state").mkdir(mode=0o700)
            write_spec(directory, "attacked", dict(policy or {}), self.root / "kernelspecs" / "rlm-python")
            for path in [directory, *directory.iterdir()]:
                path.chmod(0o755 if path.name != "work.state" else 0o700)
                if self.user is not None:
                    os.chown(path, self.user, self.user)
            env = {"RLM_KERNEL": "attacked", "JUPYTER_PATH": str(directory), "RLM_IMPORT_POLICY": "any", **settings}
            client = LineClient(directory / "work", env, self.argv())
            try:
                yield Server(client, self)
            finally:
                client.kill()


def become(user: int | None, python: str) -> list[str]:
    """What a command begins with that runs as that user."""
    if user is None:
        return []
    return [*in_own_mounts(), python, str(PROGRAM / "as_nobody.py"), str(user), str(Path(python).resolve().parents[1])]


def revision(root: Path) -> str:
    """Which commit a checkout is of."""
    argv = ["git", "-C", str(root), "log", "-1", "--format=%h %s"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
