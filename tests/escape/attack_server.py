"""A real server with a hostile session and a neighbour, canaries around them, and what a case did to any of them.

The evidence is independent of what a case prints: tokens in what came back, hits on sockets, a changed directory, a
peer process, the neighbour's answers, the server's own memory.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.escape.canaries import Canaries
from tests.escape.cases import WITHOUT_FUNCTIONS, Case
from tests.escape.driver import FUNCTIONS, Driver
from tests.mcp.line_client import SERVE, LineClient
from tests.processes import largest_bytes, thread_statuses
from tests.records import record_of

STEP_MS: Final = 3_000
HONEST_MS: Final = 60_000
"""Of what ends by itself: only a machine that has much else to do makes it slow."""
STEP_MS_OF: Final = {
    "interrupt": 800,
    "limit": 2_000,
    "allow": HONEST_MS,
    "break": HONEST_MS,
    "hold": HONEST_MS,
    "integrity": HONEST_MS,
}
"""By expectation: how long a step may take. What is expected to run for ever is waited for no longer than needed."""
ENDLESS: Final = {"que-second-reader"}
"""Cases of which the same is true, though that is not what is expected of them."""
LIMITS: Final = {
    "max_steps": 100_000,
    "max_runtime_ms": 3_600_000,
    "budget_limit": 1_000_000_000,
    "step_timeout_ms": STEP_MS,
}
OUTPUT_CHARS: Final = 8_000
FRESH: Final = {"resource", "kernel-integrity", "persistence", "fs-write", "questions"}
"""Categories whose cases are followed by a new session, which must start clean."""
FORGET: Final = "ev = None; del ev"
"""Run before each case: the evidence of one must not be taken for the next one's."""
CLEAN: Final = """
import json
found = json.dumps({"clean": True})
try:
    open("left-@RUN@")
    found += " a file was left"
except OSError:
    pass
found
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one case did."""

    answers: list[dict[str, Any]]
    """`data` of each step."""
    hits: list[str]
    """Signs that something outside the session was reached."""
    growth_bytes: int
    """By how much the server's largest resident size grew."""

    @property
    def last(self) -> dict[str, Any]:
        return self.answers[-1]

    @property
    def printed(self) -> list[str]:
        """Lines on stdout of every step."""
        return [line for answer in self.answers for line in answer["stdout"].splitlines()]


class AttackServer:
    """One server in one import policy."""

    def __init__(
        self, directory: Path, import_policy: str, argv: Sequence[str] = SERVE, uid: int | None = None, **more: str
    ) -> None:
        """`uid`: the user that `argv` becomes, to whom the directory belongs; what is outside is that user's too.

        `more`: further settings.
        """
        self.import_policy = import_policy
        self.run = secrets.token_hex(6)
        self.secret = "sbx-secret-" + secrets.token_hex(16)
        self.canaries = Canaries(uid)
        settings = {"RLM_IMPORT_POLICY": import_policy, "SBX_SERVER_SECRET": self.secret, **more}
        self.key = more.get("OPENAI_API_KEY") or more.get("ANTHROPIC_API_KEY") or self.secret
        self.functions = FUNCTIONS if "RLM_SUBCALL_BACKEND" in more else ()
        """What its sessions offer, where code may ask."""
        self.unseen: Callable[[], list[str]] = list
        """Further signs, of whatever else there is around the session; asked for after each case."""
        self.client = LineClient(directory, settings, tuple(argv))
        self.state_dir = directory.parent / f"{directory.name}.state"
        self.client.initialize()
        self.server = psutil.Process(self.client.server_pid)
        self.neighbour_token = secrets.token_hex(16)
        self.neighbour = self._open()
        self.client.run(self.neighbour, f"mine = {self.neighbour_token!r}")
        self.session = self._open()

    def close(self) -> list[str]:
        """End the server; returns what it left behind."""
        below = self.server.children(recursive=True)
        directories = [self._connection_file(session).parents[2] for session in (self.neighbour, self.session)]
        status = self.client.end()
        self.client.kill()
        _, alive = psutil.wait_procs(below, timeout=60)
        self.canaries.__exit__(None, None, None)
        left = [f"process {process.pid} is left" for process in alive]
        left += [f"the directory {directory} is left" for directory in set(directories) if directory.exists()]
        return left + ([f"the server ended with {status}"] if status else [])

    def play(self, case: Case) -> Seen:
        """Run a case's steps in the session, and look at everything around it."""
        largest = largest_bytes(self.client.server_pid)
        timeout_ms = STEP_MS if case.name in ENDLESS else STEP_MS_OF.get(case.expect, STEP_MS)
        self.client.run(self.session, FORGET)
        if case.name in WITHOUT_FUNCTIONS:
            self.renew(functions=())
        answers, raw = [], ""
        driver = Driver(self.client, self.session)
        for step in case.filled(self._places()):
            result = self.client.call(
                "rlm_run_repl", session_id=self.session, code=step, timeout_ms=timeout_ms, max_output_chars=OUTPUT_CHARS
            )
            raw += json.dumps(result, ensure_ascii=False)
            answers.append(driver.answered(_data(result)))
        hits = self.canaries.hits(raw) + driver.hits
        hits += [f"the {name} token came out" for name, token in self._tokens() if token in raw]
        hits += self._neighbour_hits()
        hits += self.unseen()
        hits += self._renew(case)
        return Seen(answers, hits, largest_bytes(self.client.server_pid) - largest)

    def answers_plainly(self, timeout_ms: int = STEP_MS) -> bool:
        """Whether the session still runs honest code in the kernel it had. `timeout_ms`: what it is given for that."""
        data = self.client.run(self.session, "print(6 * 7)", timeout_ms=timeout_ms)
        return (data["status"], data["stdout"], data["lost"]) == ("ok", "42\n", None)

    def renew(self, functions: Sequence[dict[str, str]] | None = None) -> None:
        """Give the session up and open another. `functions`: that it offers, unless those that all do."""
        self.client.call("rlm_finalize", session_id=self.session, final_text="given up")
        self.session = self._open(functions)

    def _open(self, functions: Sequence[dict[str, str]] | None = None) -> str:
        offered = list(self.functions if functions is None else functions)
        data = self.client.data("rlm_init_context", context_text="a context", host_functions=offered, **LIMITS)
        missing = (wall["name"] for wall in data.get("walls_missing", ()))
        self.walls = dict.fromkeys(data["walls"], True) | dict.fromkeys(missing, False)
        session_id: str = data["session_id"]
        return session_id

    def _renew(self, case: Case) -> list[str]:
        if case.category not in FRESH:
            return []
        self.renew()
        data = self.client.run(self.session, CLEAN.replace("@RUN@", self.run), timeout_ms=HONEST_MS)
        clean = data["result"] == repr('{"clean": true}')
        return self.canaries.hits("") + ([] if clean else [f"the next session does not start clean: {data}"])

    def _neighbour_hits(self) -> list[str]:
        data = self.client.run(self.neighbour, "print(mine)", timeout_ms=HONEST_MS)
        mine = (data["status"], data["stdout"], data["stderr"], data["lost"])
        return [] if mine == ("ok", f"{self.neighbour_token}\n", "", None) else [f"the neighbour answered {data}"]

    def _tokens(self) -> list[tuple[str, str]]:
        return [("server's", self.secret), ("neighbour's", self.neighbour_token), ("endpoint's", self.key)]

    def kernel(self) -> psutil.Process:
        """The session's kernel, as the host numbers it."""
        return psutil.Process(record_of(self.state_dir, self.session).kernel_pid)

    def _connection_file(self, session: str) -> Path:
        return Path(record_of(self.state_dir, session).connection_file)

    def _places(self) -> dict[str, str]:
        neighbour = self._connection_file(self.neighbour)
        connection = json.loads(neighbour.read_text(encoding="utf-8"))
        canaries = self.canaries
        return {
            "CANARY_FILE": str(canaries.file),
            "CANARY_DIR": str(canaries.directory),
            "CANARY_PORT": str(canaries.tcp_port),
            "CANARY_UDP": str(canaries.udp_port),
            "CANARY_SOCK": str(canaries.root / "stream"),
            "CANARY_DGRAM": str(canaries.root / "datagram"),
            "CANARY_ABSTRACT": canaries.abstract_name,
            "PEER_PID": str(canaries.peer_pid),
            "PEER_ADDR": str(canaries.peer_address),
            "PEER_CONN": str(neighbour),
            "PEER_SHELL": f"{connection['ip']}-{connection['shell_port']}",
            "PEER_SESSION": self.neighbour,
            "OWN_CONN_DIR": str(self._connection_file(self.session).parent),
            "RUN": self.run,
            "SECRET": self.secret[:16],
            "TOKEN_SELF": self.run,
        }


@contextmanager
def opened(directory: Path, import_policy: str, argv: Sequence[str] = SERVE, **more: str) -> Iterator[AttackServer]:
    """One server for many cases; it must end without leaving anything. `more`: as there."""
    attack_server = AttackServer(directory, import_policy, argv, None, **more)
    yield attack_server
    assert attack_server.close() == []


def fallen(attack_server: AttackServer) -> set[str]:
    """The walls that a new session does not have."""
    attack_server.renew()
    return {name for name, holds in attack_server.walls.items() if not holds}


def unlocked(attack_server: AttackServer) -> list[str]:
    """Threads of the kernel, looked at from outside, that have a right in any set, no filter, or may get new rights."""
    threads = thread_statuses(attack_server.kernel().pid)
    assert len(threads) >= 5
    found = []
    for status in threads:
        facts = {key: value.strip() for key, _, value in (line.partition(":") for line in status.splitlines())}
        rights = {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        if (rights, facts["NoNewPrivs"], facts["Seccomp"]) != ({"0" * 16}, "1", "2"):
            found.append(status)
    return found


def _data(result: dict[str, Any]) -> dict[str, Any]:
    body = json.loads(result["content"][0]["text"])
    assert body["ok"], body
    data: dict[str, Any] = body["data"]
    return data
