"""Whatever a client does with its end of things, or has done to it, nobody else of its host waits.

No clock is looked at: what is in trouble stays so until its neighbours have been served in full.
"""

from __future__ import annotations

import array
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from tests.front.hosts import FRONT, HERE, Hosts
from tests.mcp.line_client import WAIT_S, LineClient
from tests.processes import left_over

pytestmark = pytest.mark.slow

LAUNCHER: Final = (sys.executable, "-I", "-S", "-c", "import subprocess, sys; subprocess.call(sys.argv[1:])")
MANY: Final = 200
"""Lists of tools, of 20 KB each: far more than a pipe takes."""
Trouble = Callable[["Scene"], Callable[[], None]]


class Scene:
    """A host with a client that is well, and one that is about to be in trouble."""

    def __init__(self, hosts: Hosts, well: LineClient, session_id: str) -> None:
        self.hosts, self.well, self.session_id = hosts, well, session_id

    def client(self, before: tuple[str, ...] = (), stderr: int | None = None) -> LineClient:
        directory = self.hosts.directory / "in trouble"
        directory.mkdir(exist_ok=True)
        client = LineClient(directory, self.hosts.env, (*before, *FRONT), stderr, warm=False)
        self.hosts.clients.append(client)
        client.initialize()
        return client

    def others_are_served(self) -> None:
        """One that is there does all that a client does, and one comes and goes."""
        for _ in range(5):
            assert self.well.run(self.session_id, "6 * 7")["result"] == "42"
            self.well.data("rlm_get_var", session_id=self.session_id, var_name="large", limit=200_000)
            self.well.data("rlm_get_trace", session_id=self.session_id)
        guest = self.hosts.client("guest")
        guest.initialize()
        session_id = guest.open_session()
        assert guest.run(session_id, "1 + 1")["result"] == "2"
        guest.data("rlm_finalize", session_id=session_id, final_text="done")
        assert guest.end() == 0
        assert HERE not in guest.log.read_text(encoding="utf-8")
        self.well.seen.clear()

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_so():
            assert time.monotonic() < deadline
            self.well.pause()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    sockets = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    hosts = Hosts(sockets, tmp_path_factory.mktemp("clients"))
    try:
        well = hosts.client("well")
        well.initialize()
        session_id = well.open_session(max_steps=10_000, budget_limit=100_000_000)
        well.run(session_id, "large = 'y' * 200_000")
        yield Scene(hosts, well, session_id)
    finally:
        hosts.close()
        shutil.rmtree(sockets)


def waiting_bytes(pipe: int) -> int:
    """How much is in a pipe that nobody has read yet."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def fill(pipe: int) -> None:
    """Write to a pipe what it takes."""
    os.set_blocking(pipe, False)
    try:
        while True:
            os.write(pipe, b"x")
    except BlockingIOError:
        os.set_blocking(pipe, True)


def does_not_read(scene: Scene) -> Callable[[], None]:
    """Full stdout: the host has more to write than the pipe takes. Later all of it is there."""
    client = scene.client()
    asked = [client.send("tools/list") for _ in range(MANY)]
    scene.wait_until(lambda: waiting_bytes(client.stdout.fileno()) > 40_000)

    def reads_on() -> None:
        for request in asked:
            assert "result" in client.answer(request)
        assert client.end() == 0

    return reads_on


def is_stopped(scene: Scene) -> Callable[[], None]:
    """SIGSTOP of its front, and nobody reads."""
    client = scene.client()
    client.process.send_signal(signal.SIGSTOP)
    asked = [client.send("tools/list") for _ in range(MANY)]
    scene.wait_until(lambda: waiting_bytes(client.stdout.fileno()) > 40_000)

    def goes_on() -> None:
        client.process.send_signal(signal.SIGCONT)
        for request in asked:
            assert "result" in client.answer(request)
        assert client.end() == 0

    return goes_on


def is_killed(scene: Scene) -> Callable[[], None]:
    """SIGKILL of its front, in the middle of a step without end, whose session others go on with."""
    client = scene.client()
    session_id = client.open_session()
    client.begin("rlm_run_repl", {"session_id": session_id, "code": "begun = 1\nwhile True: pass"})
    scene.well.wait_for_name(session_id, "begun")
    client.process.kill()

    def session_goes_on() -> None:
        assert scene.well.data("rlm_interrupt", session_id=session_id)["status"] == "interrupted"
        assert scene.well.run(session_id, "begun")["result"] == "1"
        scene.well.data("rlm_finalize", session_id=session_id, final_text="done")

    return session_goes_on


def is_killed_before_its_front(scene: Scene) -> Callable[[], None]:
    """SIGKILL of the client itself, while somebody else holds its pipes: its front ends with it."""
    client = scene.client(before=LAUNCHER)
    (front,) = psutil.Process(client.process.pid).children()
    client.process.kill()

    def front_is_gone() -> None:
        assert left_over([front], WAIT_S) == []

    return front_is_gone


def has_closed_its_stdout(scene: Scene) -> Callable[[], None]:
    """What it asks is answered to nobody."""
    client = scene.client()
    client.stdout.close()
    for _ in range(20):
        client.send("tools/list")

    def ends() -> None:
        assert client.end() == 0

    return ends


def does_not_read_its_stderr(scene: Scene) -> Callable[[], None]:
    """Full stderr: it is served itself too, and has all that it could not be told as soon as it reads."""
    ours, theirs = os.pipe()
    fill(theirs)
    client = scene.client(stderr=theirs)
    os.close(theirs)
    for _ in range(50):
        client.error("rlm_init_context", context_paths=["/nowhere"])

    def is_told() -> None:
        text = os.read(ours, 1 << 20)
        client.error("rlm_init_context", context_paths=["/nowhere"])
        while text.count(b"rlm_init_context refused") < 51:
            text += os.read(ours, 1 << 16)
        assert client.end() == 0
        os.close(ours)

    return is_told


def stops_in_the_middle_of_a_line(scene: Scene) -> Callable[[], None]:
    """The rest of it comes when all others are served."""
    client = scene.client()
    client.stdin.write(b'{"jsonrpc":"2.0","id":"late","meth')
    client.stdin.flush()

    def goes_on() -> None:
        client.stdin.write(b'od":"ping"}\n')
        client.stdin.flush()
        assert "result" in client.answer("late")
        assert client.end() == 0

    return goes_on


@pytest.mark.parametrize(
    "trouble",
    [
        does_not_read,
        is_stopped,
        is_killed,
        is_killed_before_its_front,
        has_closed_its_stdout,
        does_not_read_its_stderr,
        stops_in_the_middle_of_a_line,
    ],
    ids=lambda trouble: trouble.__name__,
)
def test_nobody_waits_for_a_client_that(scene: Scene, trouble: Trouble) -> None:
    """Its neighbours are served meanwhile; then it goes on where it was, or is gone."""
    hosts = scene.hosts.everyone()
    then = trouble(scene)
    scene.others_are_served()
    then()
    scene.others_are_served()
    assert scene.hosts.everyone() == hosts
