"""The host comes before a kernel with many threads where processors are short, and no kernel can change that."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import pytest

from rlm_kernel_mcp.kernel.placement.local.process import NICENESS
from tests.escape.canaries import PROGRAM
from tests.escape.kernels.kernel_server import KernelServer
from tests.mcp.line_client import SERVE, WAIT_S

TIERS: Final = {"ns": SERVE, "lock": (sys.executable, "-I", str(PROGRAM / "serve_without_namespaces.py"), "serve")}
TRIES: Final = """
import os
said = []
for ask in (
    lambda: os.nice(-1),
    lambda: os.setpriority(os.PRIO_PROCESS, 0, 0),
    lambda: os.setpriority(os.PRIO_USER, 0, 0),
    lambda: os.setsid(),
    lambda: open('/proc/self/autogroup', 'wb').write(b'0'),
    lambda: open(f'/proc/{os.getpid()}/autogroup', 'wb').write(b'0'),
):
    try:
        said.append(str(ask()))
    except OSError:
        said.append('refused')
for name in range(3, 256):
    try:
        os.pwrite(name, b'0', 0)
    except OSError:
        pass
' '.join(said)
"""


@pytest.fixture(scope="module", params=["ns", pytest.param("lock", marks=pytest.mark.slow)])
def tiered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelServer]:
    """A server in each tier."""
    made = KernelServer(tmp_path_factory.mktemp(request.param), "any", {}, TIERS[request.param])
    try:
        yield made
    finally:
        made.close()


def group_of(pid: int) -> int | None:
    """The niceness of a process's session as a group; None where it is none, as before the first setsid(2)."""
    try:
        words = Path(f"/proc/{pid}/autogroup").read_text(encoding="ascii").split()
    except OSError:
        return None
    return int(words[-1]) if words else None


def weights(kernel: psutil.Process) -> tuple[set[int], int | None]:
    """The niceness of each thread, without those that end while it is looked at, and of the session as a group."""
    found = set()
    for thread in Path(f"/proc/{kernel.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            # The 19th field behind the name, which may hold anything: see proc_pid_stat(5).
            found.add(int((thread / "stat").read_text().rpartition(")")[2].split()[16]))
    return found, group_of(kernel.pid)


THREADS: Final = "import threading, time\nfor _ in range(20): threading.Thread(target=time.sleep, args=(60,)).start()"


def gives_way(server: KernelServer, session: str) -> None:
    """Return when all of its kernel is weighed; the host looks while a step runs, every 50 ms where it has its turn."""
    kernel = server.kernel(session)
    weighed = ({NICENESS}, None if group_of(kernel.pid) is None else NICENESS)
    deadline = time.monotonic() + WAIT_S
    while weights(kernel) != weighed:
        assert time.monotonic() < deadline, weights(kernel)
        server.client.run(session, "time.sleep(0.1)")


def test_a_kernel_with_many_threads_gives_way_to_the_host_and_one_without_does_not(tiered: KernelServer) -> None:
    """By both numbers, whichever of them this machine looks at."""
    session = tiered.open()
    kernel = tiered.kernel(session)
    before = weights(kernel)
    host = psutil.Process(tiered.client.server_pid)
    assert before in (({int(host.nice())}, None), ({int(host.nice())}, 0))
    tiered.run(session, "sum(range(1_000_000))")
    assert weights(kernel) == before
    tiered.run(session, THREADS)
    gives_way(tiered, session)


def test_a_kernel_s_code_cannot_take_its_weight_back(tiered: KernelServer) -> None:
    """By no call, no file, and no descriptor that it might have inherited."""
    session = tiered.open()
    kernel = tiered.kernel(session)
    tiered.run(session, THREADS)
    gives_way(tiered, session)
    before = weights(kernel)
    data = tiered.run(session, TRIES)
    assert data["result"] == repr(" ".join(["refused"] * 6)), data
    assert weights(kernel) == before
