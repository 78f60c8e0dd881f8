"""Calls cut off at random, sessions opened and ended, ended ones looked at: a server holds what it held before.

Is: one real server over its stdio, its calls cancelled as a client cancels, and a look from outside at its descriptors,
processes, locks, directories and disk before and after each part. Is not: faults of kernels and disks
(`tests/faults/`).
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.mcp.line_client import LineClient
from tests.processes import run_directories

REST_S: Final = 30.0
"""Within this the server has come to rest after the last call: clean-ups, the spare kernel, reading threads."""
LOOK_S: Final = 0.05
CALL_S: Final = 0.4
"""A call is cut off within this, at a moment drawn so that early ones are the most."""


@dataclass(frozen=True)
class Held:
    """What a server holds, seen from outside."""

    descriptors: int
    processes: int
    locks: int
    directories: int
    snapshot_files: int
    unlinked_mb: float
    """Disk of files without a name that it has open."""


def held(client: LineClient) -> Held:
    """A look at one moment."""
    server = psutil.Process(client.process.pid)
    state = Path(client.env["RLM_STATE_DIR"])
    below = server.children(recursive=True)
    lines = []
    for process in below:
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    unlinked = 0
    descriptors = 0
    for entry in list(Path(f"/proc/{server.pid}/fd").iterdir()):
        try:
            name = str(entry.readlink())
            # The store's connections come and go by its own rules.
            descriptors += "/sessions.db" not in name
            unlinked += entry.stat().st_size if name.endswith("(deleted)") else 0
        except FileNotFoundError:
            continue
    return Held(
        descriptors=descriptors,
        processes=len(below),
        locks=len(list((state / "locks").glob("*"))),
        directories=sum(path.is_dir() for directory in run_directories(lines) for path in directory.iterdir()),
        snapshot_files=len(list((state / "snapshots").glob("*"))),
        unlinked_mb=round(unlinked / (1 << 20), 1),
    )


def at_rest(client: LineClient, wanted: Held | None = None) -> Held:
    """What it holds once that does not change any more, or is what is wanted."""
    deadline, found, since = time.monotonic() + REST_S, held(client), time.monotonic()
    while time.monotonic() < deadline and found != wanted and not (wanted is None and time.monotonic() - since > 2):
        signal.sigtimedwait([], LOOK_S)
        if (now := held(client)) != found:
            found, since = now, time.monotonic()
    return found


class Calls:
    """One run."""

    def __init__(self, client: LineClient, rng: random.Random, files: Path) -> None:
        self.client = client
        self.random = rng
        self.files = files
        self.cut_off = self.answered = 0
        self.session_id = ""

    def begin(self) -> None:
        """The session that the calls are about."""
        self.session_id = self.client.open_session("some text")
        self.client.run(self.session_id, "import time\nlarge = 'y' * 5_000_000\nn = 0")

    def draw(self) -> tuple[str, dict[str, Any]]:
        """A call of any tool."""
        own = {"session_id": self.session_id}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("rlm_init_context", {"context_text": "some text"}),
            ("rlm_init_context", {"context_paths": [str(self.files)]}),
            ("rlm_run_repl", {**own, "code": "time.sleep(0.02); n += 1"}),
            ("rlm_run_repl", {**own, "code": "print('x' * 600_000)"}),
            ("rlm_await_step", {**own, "step_index": 1}),
            ("rlm_interrupt", own),
            ("rlm_get_var", {**own, "var_name": "large", "offset": self.random.randrange(5_000_000)}),
            ("rlm_get_trace", {**own, "detail": "full"}),
            ("rlm_list_sessions", {}),
            ("rlm_finalize", {**own, "final_text": "done"}),
        ]
        weights = [6, 6, 4, 1, 2, 2, 4, 2, 2, 4]
        return self.random.choices(calls, weights)[0]

    def cut_one_off(self) -> None:
        """Begin a call, cancel it at a random moment; what it has made all the same is ended."""
        tool, arguments = self.draw()
        request = self.client.begin(tool, arguments)
        time_left = CALL_S * self.random.random() ** 3
        if self.random.random() < 0.9:  # else: both in one write, nearly
            self.wait(time_left)
        self.client.notify("notifications/cancelled", {"requestId": request, "reason": "a test"})
        # A call that is cut off is not answered; one that was faster is, before the next.
        self.client.data("rlm_list_sessions")
        answers = [message for message in self.client.seen if message.get("id") == request]
        served = [answer["result"] for answer in answers if not answer["result"].get("isError")]
        self.answered += len(answers)
        self.cut_off += not answers
        if tool == "rlm_init_context" and served:
            opened = served[0]["structuredContent"]["data"]["session_id"]
            self.client.data("rlm_finalize", session_id=opened, final_text="not wanted")
        if tool == "rlm_finalize":
            self.client.data("rlm_interrupt", session_id=self.session_id)  # a step that was cut off before may go on
            assert self.client.data(tool, **arguments)["final_answer"] == "done"
            self.begin()

    def wait(self, seconds: float) -> None:
        """A random moment. The wait is the soak's subject, not a way to hide a race."""
        signal.sigtimedwait([], seconds)

    def live(self) -> int:
        """Sessions that are live."""
        rows = self.client.data("rlm_list_sessions", limit=200)
        return len(rows["sessions"]) + int(rows.get("omitted") or 0)

    def open_and_end(self) -> None:
        """A session's whole life."""
        session_id = self.client.open_session("some text")
        self.client.run(session_id, "x = 1")
        self.client.data("rlm_finalize", session_id=session_id, final_text="done")

    def look_at_ended(self, ended: Sequence[str]) -> None:
        """A read of a session that has its answer."""
        session_id = self.random.choice(ended)
        assert self.client.error("rlm_get_var", session_id=session_id, var_name="x")["code"] == "SESSION_FINALIZED"
        assert self.client.data("rlm_finalize", session_id=session_id, final_text="done")["final_answer"] == "done"


def run(directory: Path, count: int, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All of it: a table of what was held before and after each part."""
    files = directory / "files"
    files.mkdir(parents=True)
    for number in range(20):
        (files / f"{number}.txt").write_text("line\n" * 400_000, encoding="utf-8")
    (directory / "server").mkdir()
    table: dict[str, Any] = {}
    client = LineClient(directory / "server", {"RLM_CONTEXT_ROOTS": str(directory), "RLM_MAX_SESSIONS": "4"})
    with serving(client):
        client.initialize()
        calls = Calls(client, random.Random(seed), files)
        for _ in range(3):
            calls.open_and_end()
        ended = [client.open_session("some text") for _ in range(min(40, count))]
        for session_id in ended:
            client.data("rlm_finalize", session_id=session_id, final_text="done")

        def part(name: str, times: int, one: Callable[[], None]) -> None:
            before, live = at_rest(client), calls.live()
            for _ in range(times):
                one()
                client.seen.clear()
            after = at_rest(client, before)
            unknown = calls.live() - live
            table[name] = {"times": times, "before": asdict(before), "after": asdict(after), "unknown": unknown}
            say(f"{name}, {times} times:\n  before {before}\n  after  {after}\n  sessions nobody knows of: {unknown}")

        calls.begin()
        part("calls cut off", count, calls.cut_one_off)
        part("opened and ended", count, calls.open_and_end)
        part("looks at ended ones", max(1, count * 2 // 5), lambda: calls.look_at_ended(ended))
        table["cut off"], table["answered all the same"] = calls.cut_off, calls.answered
        client.data("rlm_finalize", session_id=calls.session_id, final_text="done")
        assert client.end() == 0
    return table


@contextmanager
def serving(client: LineClient) -> Iterator[None]:
    """Ends the server, whatever state it is in."""
    try:
        yield
    finally:
        client.kill()


def main(argv: Sequence[str]) -> int:
    """`bin/soak calls`."""
    parser = argparse.ArgumentParser(prog="bin/soak calls", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=500, help="calls that are cut off, and sessions opened and ended")
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args(argv)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        table = run(Path(directory), found.count, found.seed, lambda line: print(line, flush=True))
    print(json.dumps({"seed": found.seed, "s": round(time.monotonic() - began), "leaks": leaks(table), **table}))
    return int(bool(leaks(table)))


def leaks(table: dict[str, Any]) -> list[str]:
    """Parts after which something is held that was not before."""
    parts = {name: part for name, part in table.items() if isinstance(part, dict)}
    return [name for name, part in parts.items() if part["before"] != part["after"] or part["unknown"]]
