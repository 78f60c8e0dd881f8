"""Processes that are confined otherwise, or are somebody else's, at the door of a real host, and in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.front import front
from rlm_kernel_mcp.in_kernel.walls import landlock, namespaces
from tests.escape.canaries import python_for
from tests.front.hosts import HERE, Hosts
from tests.mcp.line_client import WAIT_S
from tests.parts import ROOT
from tests.rights import NOBODY

pytestmark = pytest.mark.slow

PROGRAM: Final = Path(__file__).parent / "program"
PYTHON: Final = sys.executable
OF_NAMESPACES: Final = ["mnt", "net", "ipc", "uts", "cgroup", "user", "pid"]
OF_ROOT: Final = ["groups", "bounding", "root"]
MORE: Final = [
    "no_new_privs,seccomp",
    *([] if namespaces.refusal() else OF_NAMESPACES),
    *([] if os.getuid() else OF_ROOT),
]
KINDS: Final = ["no_new_privs", *(pytest.param(kind, marks=pytest.mark.slow) for kind in MORE)]
BOTH_WAYS: Final = [kind for kind in ["no_new_privs", *MORE] if kind not in ("ipc", "uts", "cgroup", *OF_ROOT)]


@pytest.fixture
def hosts(short_dir: Path) -> Iterator[Hosts]:
    """All of it below one directory, which a sandbox can be given."""
    for name in ("sockets", "clients"):
        (short_dir / name).mkdir()
    made = Hosts(short_dir / "sockets", short_dir / "clients")
    yield made
    made.close()


def confined(kinds: str, hosts: Hosts) -> tuple[str, ...]:
    """What is put before a command line, so that it is confined so."""
    return (PYTHON, str(PROGRAM / "confined.py"), kinds, str(ROOT), str(hosts.sockets.parent))


def said_by(argv: Sequence[str], user: int | None = None, **options: Any) -> dict[str, Any]:
    options = {"cwd": "/", "user": user, "extra_groups": None if user is None else (), **options}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=WAIT_S, check=True, **options)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_confined_otherwise_never_shares_a_host(hosts: Hosts, kind: str) -> None:
    plain = hosts.client("plain")
    plain.initialize()
    pid = hosts.pid()
    other = hosts.client("other", before=confined(kind, hosts))
    other.initialize()
    assert hosts.pid() == pid
    theirs = [process for process in hosts.everyone() if process != pid]
    for process in theirs:  # a host of its own, which is confined as it is
        assert front.differences(front.confinement("self"), front.confinement(process))
    assert len(theirs) == 1 or HERE in other.log.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_a_host_that_began_in_a_sandbox_serves_nobody_outside(hosts: Hosts, kind: str) -> None:
    other = hosts.client("other", before=confined(kind, hosts))
    other.initialize()
    plain = hosts.client("plain")
    plain.initialize()
    pid = hosts.pid()
    assert pid is not None
    assert front.differences(front.confinement("self"), front.confinement(pid)) == ""
    assert HERE not in plain.log.read_text(encoding="utf-8")


BASE: Final = "no_new_privs"
"""What Landlock needs of an ordinary user; it shows, so both sides have it."""


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
@pytest.mark.parametrize("first", ["plain", "caged"])
def test_landlock_shows_nowhere_and_keeps_client_and_host_apart_all_the_same(hosts: Hosts, first: str) -> None:
    before = {"plain": confined(BASE, hosts), "caged": confined(f"{BASE},landlock", hosts)}
    (second,) = {"plain", "caged"} - {first}
    one = hosts.client(first, before=before[first])
    one.initialize()
    two = hosts.client(second, before=before[second])
    two.initialize()
    assert HERE not in one.log.read_text(encoding="utf-8")
    assert "in a sandbox" in two.logged(HERE)


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
def test_a_handshake_by_hand_from_a_landlock_domain_does_not_get_in(hosts: Hosts) -> None:
    plain = hosts.client("plain", before=confined(BASE, hosts))
    plain.initialize()
    (pid,) = hosts.everyone()
    where = hosts.socket_of(pid)
    forged = (PYTHON, str(PROGRAM / "forged_front.py"), where)
    assert said_by((*confined(f"{BASE},landlock", hosts), *forged)) == {
        "hello": "seen",
        "secret": "Permission denied",
        "asked": "the client could not see into the host: it is in a sandbox",
    }
    outside = said_by((*confined(BASE, hosts), *forged))
    assert outside["asked"] == "the client is no front of this installation"
    # Any program may ask to have its calls answered, and is let in by the looks alone.
    assert said_by((*confined(f"{BASE},landlock", hosts), *forged, "call"))["asked"].endswith("it is in a sandbox")
    outside = said_by((*confined(BASE, hosts), *forged, "call"))
    assert outside["asked"] == "the host serves another version, installation or state directory"
    assert "result" in plain.request("ping")


HAS_A_SESSION: Final = """
import json, logging
from rlm_kernel_mcp.api import Session
said = []
class Said(logging.Handler):
    def emit(self, row):
        said.append(row.getMessage())
logging.getLogger().addHandler(Said())
with Session(context_text="some text") as session:
    print(json.dumps({"result": session.run("1 + 1").result, "said": said}))
"""


@pytest.mark.parametrize("kind", [f"{BASE},landlock", "no_new_privs,seccomp"])
def test_a_program_that_is_confined_otherwise_has_its_sessions_in_its_own_process(hosts: Hosts, kind: str) -> None:
    """Landlock shows nowhere; a filter shows, so that the program may have a host of its own kind."""
    if "landlock" in kind and landlock.abi() == 0:
        return  # nobody can be confined so
    plain = hosts.client("plain", before=confined(BASE, hosts))
    plain.initialize()
    (pid,) = hosts.everyone()
    command = (*confined(kind, hosts), PYTHON, "-I", "-c", HAS_A_SESSION)
    places = {"TMPDIR": str(hosts.directory), "XDG_RUNTIME_DIR": str(hosts.directory)}
    found = said_by(command, env={**os.environ, **hosts.env, **places}, cwd=hosts.directory)
    assert found["result"] == "2"
    others = [host for host in hosts.everyone() if host != pid]
    if "landlock" in kind:
        assert others == []
        assert "in a sandbox" in found["said"][0]
    for host in others:
        assert front.differences(front.confinement(pid), front.confinement(host))


@pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")
def test_who_listens_in_a_host_s_place_from_a_landlock_domain_is_given_nothing(hosts: Hosts) -> None:
    """It would have the client's pipes: what it asks, and the answers."""
    program = (PYTHON, str(PROGRAM / "forged_host.py"), hosts.place.socket)
    caged = [*confined("no_new_privs,landlock" if os.getuid() else "landlock", hosts), *program]
    before = confined("no_new_privs", hosts) if os.getuid() else ()
    with subprocess.Popen(caged, stdout=subprocess.PIPE, text=True) as impostor:
        assert impostor.stdout is not None
        assert impostor.stdout.readline() == "listening\n"
        client = hosts.client("client", before=before)
        client.initialize()
        report = json.loads(impostor.stdout.readline())
        assert impostor.wait(WAIT_S) == 0
    assert report == {"hello": "hello", "secret": "Permission denied", "told": 0, "given": 0}
    client.logged(HERE)


def test_another_user_s_process_does_not_get_in(hosts: Hosts) -> None:
    if os.getuid() != 0:
        return  # nobody else can be had
    hosts.client("plain").initialize()
    (pid,) = hosts.everyone()
    where = Path(hosts.socket_of(pid))
    program = (PROGRAM / "forged_front.py").read_text(encoding="utf-8")
    forged = (python_for(NOBODY), "-I", "-c", program, str(where))
    assert said_by(forged, NOBODY) == {"connect": "Permission denied"}
    for directory in (where.parent, where.parent.parent):
        directory.chmod(0o755)
    where.chmod(0o777)
    assert said_by(forged, NOBODY) == {"hello": "no", "reason": "the client belongs to another user"}


INTRUSION: Final = """
import os, socket, json
found = []
def tried(what, call):
    try:
        found.append([what, "REACHED", str(call())])
    except BaseException as error:
        found.append([what, type(error).__name__, str(error)])
def connected(kind, place):
    with socket.socket(socket.AF_UNIX, kind) as peer:
        peer.settimeout(5)
        peer.connect(place)
        peer.send(b"rlm-host 1" + bytes([0]) + b"hello" + bytes([0]) + b"0")
        return peer.recv(4096)
for kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM, socket.SOCK_DGRAM):
    tried("connect", lambda: connected(kind, PLACE))
tried("list", lambda: os.listdir(os.path.dirname(PLACE)))
tried("lock", lambda: os.open(PLACE.removesuffix(".sock") + ".lock", os.O_RDWR))
tried("log", lambda: open(PLACE + ".log").read())
tried("proof", lambda: os.open(STATE + "/host.proof", os.O_RDWR))
tried("records", lambda: os.listdir(STATE))
tried("process", lambda: os.listdir(f"/proc/{HOST}/fd"))
tried("signal", lambda: os.kill(HOST, 0))
print(json.dumps(found))
"""
"""What a kernel's code may try against its host: every one of these has to raise."""


@pytest.mark.parametrize("tier", ["ns", "lock"])
def test_a_kernel_reaches_nothing_of_its_host(hosts: Hosts, tier: str) -> None:
    """Socket, lock, log, proof, records and process; with every module importable, in each tier."""
    before = confined("without_namespaces", hosts) if tier == "lock" else ()
    client = hosts.client("client", before=before, env={"RLM_IMPORT_POLICY": "any"})
    client.initialize()
    (pid,) = hosts.everyone()
    place = hosts.socket_of(pid)
    opened = client.data("rlm_init_context", context_text="some text")
    assert ("namespaces" in opened["walls"]) is (tier == "ns" and not namespaces.refusal())
    values = f"PLACE, STATE, HOST = {place!r}, {hosts.place.state!r}, {pid}\n"
    report = client.run(opened["session_id"], values + INTRUSION)
    assert report["status"] == "ok", report
    found = json.loads(report["stdout"])
    assert len(found) == 10
    assert [what for what, outcome, _ in found if outcome == "REACHED"] == [], found
    assert "result" in client.request("ping")
