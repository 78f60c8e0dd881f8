"""What the container itself stops, with the process walls inside left out; and what the engine says of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlm_kernel_mcp.kernel.placement.container.arguments import ContainerRuntime, Mounts, run_argv
from rlm_kernel_mcp.kernel.placement.kernelspec import kernelspec_dir
from rlm_kernel_mcp.policy import Limits, load_policy
from tests.escape.container.runtimes import ContainerServer, image_in
from tests.processes import thread_statuses

pytestmark = pytest.mark.slow

SECONDS = 60
LIMITS = load_policy(kernelspec_dir() / "rlm-python" / "policy.json").limits.model_copy(
    update={"memory_mb": 64, "scratch_mb": 8, "threads": 40}
)


class BareContainer:
    """A container as a kernel gets it, with the test's own program in place of the kernel: no wall but the engine's."""

    def __init__(self, runtime: str, limits: Limits) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rlm-b-"))
        for name in ("c", "w"):
            (self.directory / name).mkdir()
        (self.directory / "c").chmod(0o1777)
        self.runtime = ContainerRuntime(runtime, runtime, image_in(runtime), "")
        mounts = Mounts(self.directory.name, str(self.directory), str(self.directory / "c"), str(self.directory / "w"))
        argv = run_argv(self.runtime, mounts, limits, {"HOME": "/tmp"}, [])
        self.argv = argv[: argv.index("-m")]

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run Python code in it, to its end."""
        program = f"scratch = {str(self.directory / 'w')!r}\nsockets = {str(self.directory / 'c')!r}\n{program}"
        return subprocess.run(
            [*self.argv, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
            cwd=self.directory,  # podman's monitor writes there
        )

    def close(self) -> None:
        subprocess.run([self.runtime.program, "rm", "-f", self.directory.name], capture_output=True, check=False)
        shutil.rmtree(self.directory)


@pytest.fixture
def bare(runtime: str) -> Iterator[BareContainer]:
    found = BareContainer(runtime, LIMITS)
    try:
        yield found
    finally:
        found.close()


ATTEMPT = """
import errno
def attempt(name, act):
    try:
        act()
    except OSError as error:
        print(name, errno.errorcode[error.errno])
    else:
        print(name, "DONE")
"""

REFUSED = """
import os, socket
from pathlib import Path
def connect(family, address):
    with socket.socket(family) as channel:
        channel.settimeout(5)
        channel.connect(address)
attempt("tcp", lambda: connect(socket.AF_INET, ("192.0.2.1", 80)))
attempt("tcp6", lambda: connect(socket.AF_INET6, ("2001:db8::1", 80)))
attempt("root", lambda: Path("/made").write_text("x"))
attempt("usr", lambda: Path("/usr/made").write_text("x"))
attempt("package", lambda: Path(os.__file__).write_text("x"))
attempt("root user", lambda: os.setuid(0))
attempt("group", lambda: os.setgid(0))
attempt("chown", lambda: os.chown("/tmp", 0, 0))
attempt("device", lambda: os.mknod(scratch + "/disk", 0o60666, os.makedev(8, 0)))
attempt("host name", lambda: socket.sethostname("x"))
"""


def test_network_root_and_rights_are_refused_by_the_container_alone(bare: BareContainer) -> None:
    """No route, a read-only root, no way to another user, no device."""
    done = bare.run(ATTEMPT + REFUSED)
    answers = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert len(answers) == 10, done.stderr
    assert {name for name, answer in answers.items() if answer == "DONE"} == set()
    assert answers["tcp"] == "ENETUNREACH"
    assert answers["usr"] in ("EROFS", "EACCES")


def test_no_right_is_left_and_none_can_be_had(bare: BareContainer) -> None:
    """Every capability set is empty; no_new_privs; the engine's filter; a user that is nobody on the host."""
    done = bare.run("print(open('/proc/self/status').read())")
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split() == ["65532"] * 4
    assert status["Gid"].split() == ["65532"] * 4


def test_a_fork_bomb_stops_at_the_limit_of_pids(bare: BareContainer) -> None:
    """And not at the machine's."""
    bomb = (
        "import os, signal\nn = 0\n"
        "try:\n    while n < 500:\n        if os.fork() == 0:\n            signal.pause()\n        n += 1\n"
        "except OSError:\n    print(n, flush=True)\nos._exit(0)"
    )
    done = bare.run(bomb)
    assert 0 < int(done.stdout) <= LIMITS.threads + 2, done.stderr


def test_a_memory_bomb_is_ended_by_the_engine(bare: BareContainer) -> None:
    """The backstop behind the kernel's own limit: SIGKILL, and the machine has not noticed."""
    done = bare.run("kept = []\nwhile True: kept.append(b'x' * (1 << 20))")
    assert done.returncode == 137


@pytest.mark.parametrize(("place", "bound_mb"), [("scratch", 8), ("'/tmp'", 16)])
def test_what_can_be_written_is_bounded(bare: BareContainer, place: str, bound_mb: int) -> None:
    """Both tmpfs end in ENOSPC."""
    fill = (
        f"import os\nat = os.open({place} + '/fill', os.O_CREAT | os.O_WRONLY)\nn = 0\n"
        "try:\n    while True:\n        n += os.write(at, bytes(1 << 16))\n"
        "except OSError as error:\n    print(n, error.errno)"
    )
    done = bare.run(fill)
    written, number = map(int, done.stdout.split())
    assert number == 28, done.stderr
    assert written <= bound_mb << 20


def test_nothing_of_the_host_is_to_be_seen(bare: BareContainer) -> None:
    """No file of its own, no process, no variable of this test's environment."""
    done = bare.run(
        "import os, json\nprint(json.dumps([sorted(os.environ), [n for n in os.listdir('/proc') if n.isdigit()], "
        f"os.path.exists({str(Path(__file__))!r}), os.listdir('/home') if os.path.exists('/home') else []]))"
    )
    variables, processes, file_is_there, homes = json.loads(done.stdout)
    known = {"HOME", "PATH", "HOSTNAME", "TERM", "container", "LC_CTYPE"}
    assert {name for name in variables if "PROXY" not in name.upper()} <= known
    assert processes == ["1"]
    assert not file_is_there
    assert homes == []


def test_the_engine_confirms_what_a_session_s_container_was_started_with(server: ContainerServer) -> None:
    """Its own words, about the container of a live session."""
    found = server.inspect(server.container_of(server.client.open_session()))
    host: dict[str, Any] = found["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert host["PidsLimit"] == 130
    assert host["Memory"] == host["MemorySwap"] == 720 << 20
    assert found["Config"]["User"] == "65532:65532"
    assert [mount["Destination"] for mount in found["Mounts"] if mount["Type"] == "bind"] == [
        mount["Source"] for mount in found["Mounts"] if mount["Type"] == "bind"
    ]


def test_a_session_s_kernel_has_no_rights_as_the_host_sees_it(server: ContainerServer) -> None:
    """Every process and thread in the container: no capability, no new privileges, filtered, not root."""
    container = server.container_of(server.client.open_session())
    first = psutil.Process(server.inspect(container)["State"]["Pid"])
    processes = [first, *first.children(recursive=True)]
    statuses = [text for process in processes for text in thread_statuses(process.pid)]
    assert len(statuses) > 5
    for text in statuses:
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert status["Uid"].split()[0] == "65532"


INSIDE = {
    "a socket": "import socket\nsocket.socket()",
    "a process": "import os\nos.fork()",
    "a program": "import os\nos.execv('/usr/bin/python3', ['python3'])",
    "the root": "open('/made', 'w')",
    "the package": "import os\nopen(os.__file__, 'a')",
    "the connection file": "import glob\nopen(glob.glob(scratch[:-1] + 'c/kernel.json')[0], 'w')",
    "a socket's place": "import os\nos.unlink(scratch[:-1] + 'c/s-1')",
    "the mounted directory": "open(scratch[:-1] + 'c/made', 'w')",
    "another user": "import os\nos.setuid(0)",
    "the first process": "import os\nos.kill(1, 9) if os.getpid() != 1 else os.kill(2, 9)",
}


@pytest.mark.parametrize("attack", INSIDE)
def test_the_process_walls_hold_inside_the_container(server: ContainerServer, attack: str) -> None:
    """With every import allowed, user code is refused what even the container would give."""
    session_id = server.client.open_session()
    done = server.client.run(session_id, INSIDE[attack])
    assert done["status"] == "error", done
    assert done["error"]["ename"] in ("PermissionError", "OSError", "ProcessLookupError", "IndexError"), done["error"]
    assert server.client.run(session_id, "1 + 1")["result"] == "2"
