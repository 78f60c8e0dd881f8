"""The monitor of a kernel in its own namespaces, looked at from outside while the kernel runs."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.escape.canaries import Canaries
from tests.escape.walls.cages import SECONDS, Kind, kinds, start

KINDS = [kind for kind in kinds() if kind.tier == "ns"]
WAIT = "honest.wait_for_a_line"


def ids(kind: Kind) -> str:
    return kind.user


class Running:
    """A cage that waits inside: its monitor is our child, its kernel was announced."""

    def __init__(self, cage: subprocess.Popen[str], canaries: Canaries) -> None:
        self.cage = cage
        self.canaries = canaries
        self.unread = b""
        self.announced_pid = int(self.line()[2])
        assert self.line()[0][0]["name"] == "rlimits"
        self.kernel = os.pidfd_open(self.announced_pid)

    def line(self) -> Any:
        """The next line that comes out, in bounded time."""
        assert self.cage.stdout is not None
        while b"\n" not in self.unread:
            readable, _, _ = select.select([self.cage.stdout], [], [], SECONDS)
            assert readable, "nothing came out"
            more = os.read(self.cage.stdout.fileno(), 65536)
            assert more, "the cage ended"
            self.unread += more
        line, _, self.unread = self.unread.partition(b"\n")
        return json.loads(line)

    def kernel_ended(self) -> bool:
        """Whether the kernel ends in bounded time."""
        return bool(select.select([self.kernel], [], [], SECONDS)[0])


@contextmanager
def running(kind: Kind, *attacks: str, **changes: Any) -> Iterator[Running]:
    with Canaries(kind.uid) as canaries, start(kind, canaries, attacks or [WAIT], **changes) as cage:
        made = Running(cage, canaries)
        assert attacks or made.line() == "waiting"
        try:
            yield made
        finally:
            cage.kill()
            os.close(made.kernel)


def status(pid: int, thread: str = "") -> dict[str, str]:
    """/proc's status of a process or a thread."""
    lines = Path(f"/proc/{pid}/{thread}status").read_text(encoding="ascii").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_kernels_own_pid_is_announced_and_its_parent_is_the_monitor(kind: Kind) -> None:
    """As the host's pid namespace numbers it; inside, the kernel is number 1."""
    with running(kind) as made:
        facts = status(made.announced_pid)
    assert int(facts["PPid"]) == made.cage.pid
    assert facts["NSpid"].split()[1:] == ["1"]


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_every_thread_of_the_kernel_and_the_monitor_is_locked(kind: Kind) -> None:
    """No capability in any set, no_new_privs, and a filter in force; on the kernel both stages."""
    with running(kind) as made:
        threads = [f"task/{path.name}/" for path in Path(f"/proc/{made.announced_pid}/task").iterdir()]
        facts = [status(made.announced_pid, thread) for thread in threads] + [status(made.cage.pid)]
    assert len(threads) >= 2
    for fact in facts:
        assert {fact[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (fact["NoNewPrivs"], fact["Seccomp"]) == ("1", "2")
    inherited = int(status(os.getpid())["Seccomp_filters"])  # a container's, in which the suite may run
    assert {int(fact["Seccomp_filters"]) - inherited for fact in facts[:-1]} == {2}


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_no_user_code_runs_before_the_monitor_is_confined(kind: Kind) -> None:
    """It ends, and the kernel with it, where it sees that some does."""
    with running(kind, slow_monitor=True) as made:
        assert status(made.cage.pid)["Seccomp"] == "2"


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_monitor_keeps_none_of_the_kernels_descriptors(kind: Kind) -> None:
    """What the kernel closes is closed: its reader sees the end while both processes live."""
    with running(kind, "honest.close_its_output_and_wait") as made:
        assert made.cage.stdout is not None
        assert select.select([made.cage.stdout], [], [], SECONDS)[0]
        assert os.read(made.cage.stdout.fileno(), 16) == b""
        assert made.cage.poll() is None


@pytest.mark.parametrize("kind", KINDS, ids=ids)
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGXCPU])
def test_a_signal_to_the_monitor_reaches_the_kernel(kind: Kind, number: signal.Signals) -> None:
    """Whoever knows only the process that was started can still reach the kernel."""
    with running(kind) as made:
        made.cage.send_signal(number)
        assert made.line() == number.name


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_an_interrupt_to_the_monitor_interrupts_the_kernel(kind: Kind) -> None:
    """As KeyboardInterrupt in the code that runs."""
    with running(kind) as made:
        made.cage.send_signal(signal.SIGINT)
        assert made.line()[1:] == ["raised", "KeyboardInterrupt: "]


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_monitor_ends_as_the_kernel_ends(kind: Kind) -> None:
    """With its exit code: here that of the kernel's own handler for SIGTERM."""
    with running(kind) as made:
        made.cage.terminate()
        assert made.cage.wait(SECONDS) == 40 + signal.SIGTERM


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_what_signals_a_monitor_inherits_as_ignored_or_blocked_changes_nothing(kind: Kind) -> None:
    """`nohup`, a CI runner, a shell's job: an interrupt is still relayed, and the end of the kernel still seen."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGXCPU, signal.SIGHUP]
    ignored = {"ignored_signals": numbers, "blocked_signals": numbers}
    with running(kind, WAIT, WAIT, **ignored) as made:
        assert made.line() == "waiting"
        made.cage.send_signal(signal.SIGINT)
        assert made.line()[1:] == ["raised", "KeyboardInterrupt: "]
        assert made.line() == "waiting"
        blocked = [int(status(pid)["SigBlk"], 16) for pid in (made.cage.pid, made.announced_pid)]
        made.cage.terminate()
        assert made.cage.wait(SECONDS) == 40 + signal.SIGTERM
    assert blocked == [0, 0]


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_monitor_ends_by_the_signal_that_ended_the_kernel(kind: Kind) -> None:
    """So the parent reads the same wait status as without a monitor."""
    with running(kind) as made:
        signal.pidfd_send_signal(made.kernel, signal.SIGKILL)
        assert made.cage.wait(SECONDS) == -signal.SIGKILL


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_kernel_does_not_outlive_its_monitor(kind: Kind) -> None:
    """Also when the monitor has no time to do anything."""
    with running(kind) as made:
        made.cage.kill()
        assert made.kernel_ended()


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_a_socket_bound_inside_is_reached_from_outside(kind: Kind) -> None:
    """Through the directory that both see; it is read-only inside by then."""
    with running(kind) as made, socket.socket(socket.AF_UNIX) as client:
        (directory,) = made.canaries.root.glob("c-*")
        client.settimeout(SECONDS)
        client.connect(str(directory / "s-1"))
        client.send(b"hello")
        assert client.recv(16) == b"hello"


@pytest.mark.parametrize("kind", KINDS, ids=ids)
def test_the_kernel_sees_itself_alone(kind: Kind) -> None:
    """Its user, its number, its directory, its host name; nothing of the machine's."""
    with running(kind, "honest.know_who_it_is", WAIT) as made:
        who = json.loads(made.line()[2].strip("'"))
        (directory,) = made.canaries.root.glob("w-*")
    assert who == {"uid": 65532, "pid": 1, "cwd": str(directory), "host": "kernel"}
