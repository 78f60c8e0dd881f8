"""What passes for a front and hands over what none does: the host says no or serves it alone, and nobody else notices.

Each attack is a function of `program/hostile_front.py`, which comes under a front's own command line, since that is a
fence that can be had, and no wall.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.front.front import PACKAGE
from tests.front.hosts import FRONT, HERE, Hosts
from tests.mcp.line_client import CLIENT, WAIT_S, LineClient

pytestmark = pytest.mark.slow

CONNECTIONS: Final = 3_000
PROGRAM: Final = Path(__file__).parent / "program" / "hostile_front.py"
ROOTS: Final = "not a directory that the client opened for reading"
PROOF: Final = "the proof of the records is not open as it must be"
WRONG_WAY: Final = "is not open as it must be"
STREAM: Final = "is no pipe, socket, terminal, device or file"
REFUSED: Final = {
    "pipe_as_root": ROOTS,
    "place_as_root": ROOTS,
    "place_as_working_directory": ROOTS,
    "file_as_root": ROOTS,
    "memory_as_root": ROOTS,
    "socket_as_root": ROOTS,
    "no_roots": "6 descriptors came",
    "sixty_five_roots": "70 descriptors at most",
    "as_many_descriptors_as_fit": "70 descriptors at most",
    "another_file_as_proof": "did not show that it may use the records",
    "proof_for_reading": PROOF,
    "place_as_proof": PROOF,
    "pipe_as_page": WRONG_WAY,
    "file_as_page": "is not in memory",
    "counter_as_stdin": STREAM,
    "full_counter_as_stdout": STREAM,
    "full_counter_as_stderr": STREAM,
    "poll_as_stdin": STREAM,
    "directory_as_stdin": STREAM,
    "ends_exchanged": WRONG_WAY,
}
"""Attacks that the host refuses, and what it says."""


def nothing() -> None:
    """Nothing is done meanwhile."""


class House:
    """A host with an honest client, and what comes in beside it."""

    def __init__(self, hosts: Hosts, before: Sequence[str] = ()) -> None:
        """`before`: what starts the front of the client that is first, and so the host."""
        self.hosts = hosts
        self.neighbour: LineClient = hosts.client("neighbour", before)
        self.neighbour.initialize()
        (self.pid,) = hosts.everyone()
        self.before = self.descriptors()

    def descriptors(self) -> int:
        """How many the host has open, without those of its store, which come and go."""
        names = []
        for entry in [*Path(f"/proc/{self.pid}/fd").iterdir()]:
            try:
                names.append(str(entry.readlink()))
            except FileNotFoundError:
                continue
        return sum("/sessions.db" not in name for name in names)

    def attacked(
        self, kind: str, during: Callable[[], object] = nothing, *, opens_sessions: bool = False, **more: Any
    ) -> dict[str, Any]:
        """Let it in; meanwhile and afterwards the same host serves its client, and then has nothing of it.

        `opens_sessions`: so that the host goes on to have more, whoever is gone.
        """
        place = self.hosts.place
        order = {
            "kind": kind,
            "socket": place.socket,
            "said": [place.version, PACKAGE, place.state, f"RLM_STATE_DIR={place.state}", "HOME=/"],
            "shows": [*FRONT],
            "root": str(self.hosts.directory),
            **more,
        }
        program = [sys.executable, "-I", "-S", str(PROGRAM), json.dumps(order), "x" * 1_000]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/") as attack:
            assert attack.stdin is not None
            assert attack.stdout is not None
            line = attack.stdout.readline()
            assert line, self.hosts.log()
            found: dict[str, Any] = json.loads(line)
            during()
            assert "result" in self.neighbour.request("ping"), self.hosts.log()
            attack.stdin.close()
            assert attack.wait(WAIT_S) == 0
        assert "result" in self.neighbour.request("ping"), self.hosts.log()
        assert self.hosts.everyone() == [self.pid], self.hosts.log()
        if not opens_sessions:
            self.wait_until_gone()
        return found

    def wait_until_gone(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.descriptors() > self.before:
            assert time.monotonic() < deadline, (self.descriptors(), self.before, self.hosts.log())
            self.neighbour.pause()


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    """One for all attacks, of which none opens a session: what the host has open is the same after each."""
    with opened() as made:
        yield made


@contextmanager
def opened(before: Sequence[str] = ()) -> Iterator[House]:
    """A house of its own. `before`: as for `House`."""
    base = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    for name in ("sockets", "clients"):
        (base / name).mkdir()
    hosts = Hosts(base / "sockets", base / "clients")
    try:
        yield House(hosts, before)
    finally:
        hosts.close()
        shutil.rmtree(base)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_shows_no_right_or_may_keep_the_host_waiting_is_refused(house: House, kind: str) -> None:
    assert REFUSED[kind] in house.attacked(kind)["refused"]


@pytest.mark.parametrize(
    "kind",
    [
        "sealed_page",
        "page_cut_off",
        "page_cut_in_the_middle",
        "page_written_at_random",
        "page_sealed_later",
        "page_resized_all_the_time",
        "page_that_another_host_left",
        "page_that_ends_in_its_header",
        "listener_as_stdin",
    ],
)
def test_a_page_that_changes_under_the_host_ends_that_connection_at_most(house: House, kind: str) -> None:
    """No signal comes (SIGBUS would end everybody's host), and nothing that is read there is believed of others."""
    assert "silent" not in json.dumps(house.attacked(kind)["came of it"])


def test_a_handshake_of_a_gigabyte_is_not_read(house: House) -> None:
    assert house.attacked("says_more_than_it_may") == {"came of it": {"within bounds": 1}}


def test_descriptors_that_nobody_wants_are_closed(house: House) -> None:
    assert house.attacked("descriptors_without_end") == {"came of it": {"no": 300}}


def test_countless_connections_keep_nobody_out(house: House) -> None:
    """A client that comes in the middle of them is served by the host, and so is one that comes behind them."""
    late = house.hosts.client("late")
    asked = late.send("initialize", CLIENT)

    def is_served() -> None:
        assert "result" in late.answer(asked)
        assert HERE not in late.log.read_text(encoding="utf-8")
        assert late.end() == 0

    found = house.attacked("countless_connections", is_served, count=CONNECTIONS)["came of it"]
    assert found["answered"] == 1
    assert found["made"] > CONNECTIONS // 2


@pytest.mark.parametrize(
    ("kind", "reached"),
    [
        ("proc_as_root", "the host's own environment"),
        ("descriptors_as_root", "what another process has open"),
        ("confined_after_the_handshake", "a file outside of its roots"),
    ],
)
def test_a_root_reaches_what_its_client_opened_and_nothing_of_the_host_s(kind: str, reached: str) -> None:
    with opened() as house:
        found = house.attacked(kind, opens_sessions=True)["came of it"]
        assert found["ok"] is False, reached
        assert found["error"]["code"] in ("CONTEXT_DENIED", "CONTEXT_NOT_FOUND", "INVALID_INPUT"), found


def test_clients_with_all_the_roots_that_they_may_have_leave_the_others_their_descriptors() -> None:
    """On a machine that gives a process 1,024 of them; what is refused is told why."""
    with opened(("prlimit", "--nofile=1024:1024")) as house:

        def somebody_works() -> None:
            session_id = house.neighbour.open_session()
            assert house.neighbour.run(session_id, "6 * 7")["result"] == "42"
            house.neighbour.data("rlm_finalize", session_id=session_id, final_text="done")

        found = house.attacked("many_with_many_roots", somebody_works, opens_sessions=True, count=30)["came of it"]
        assert found.pop("answered") >= 1
        assert all("descriptors for no more" in reason for reason in found), found
