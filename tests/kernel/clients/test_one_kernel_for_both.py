"""What our host starts and what a foreign Jupyter client starts is the same kernel, compared wall by wall."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

from rlm_kernel_mcp.in_kernel.walls.plan import WALLS
from rlm_kernel_mcp.in_kernel.walls.syscalls import syscall_numbers
from tests.escape.walls.cages import Kind, kinds
from tests.parts import ROOT
from tests.rights import in_own_mounts
from tests.specs import write_spec

pytestmark = pytest.mark.slow

PROGRAM: Final = Path(__file__).with_name("program")
WAIT_S: Final = 90
LONG: Final = "long"
PLACES: Final = ("runtime", "tmp", LONG, "shared")
"""Where a client puts its connection file: its runtime directory, the temporary one, a path of 200 bytes, a directory
in which others may write."""
OWN_USER: Final = 1 << 30
"""From here on numbers of users are made up: in tier `lock` a kernel of root's has one to itself."""
STATUS: Final = re.compile(
    r"(Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp\w*|Sig(?:Ign|Blk|Cgt)|Cap\w+|Threads|TracerPid|NS(?:pid|pgid|sid)):\s*(.*)"
)
CALLS: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(["getuid", "sched_yield", "setsid", "inotify_init1", "epoll_create1", "userfaultfd", "acct"], (0,)),
    **dict.fromkeys(["personality", "setuid", "setgid", "chroot", "mq_unlink", "unlinkat", "swapon"], (0,)),
    **dict.fromkeys(["ptrace", "memfd_create", "pidfd_open", "io_uring_setup", "kcmp", "fanotify_init"], (0, 0)),
    **dict.fromkeys(["bpf", "keyctl", "shmget", "msgget", "setns", "process_vm_readv", "perf_event_open"], (0,) * 6),
    **dict.fromkeys(["mount", "pivot_root", "move_mount", "open_tree", "fsopen", "add_key", "eventfd2"], (0,) * 5),
    "socket": (1, 1, 0),
    "kill": (-1, 0),
    "unshare": (0x10000000,),
    "landlock_create_ruleset": (0, 0, 1),
    "sched_setaffinity": (1, 0, 0),
}
"""Tried in both worlds: what comes must be the same, whatever it is. None does anything where it is let through."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One kernel, from inside and from outside."""

    world: str
    inside: dict[str, Any]
    outside: dict[str, Any]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: f"{kind.tier}-{kind.user}")
def test_each_wall_is_the_same_in_both_worlds(kind: Kind) -> None:
    """Mounts, grants, filters, limits, descriptors, signals, environment; wherever the connection file lies."""
    number = kinds().index(kind)
    # Each place in the first kind, and one in each other: `bin/soak one_kernel` has every place in every kind.
    places = PLACES if number == 0 else (PLACES[number % len(PLACES)],)
    assert differences(kind, places) == []


def differences(kind: Kind, places: tuple[str, ...]) -> list[str]:
    """Of each foreign client's kernel what is other than in ours."""
    found = []
    with seen_in_both(kind, places) as (ours, *theirs):
        assert len(theirs) == len(places)
        for foreign in theirs:
            for here, there in ((ours.inside, foreign.inside), (ours.outside, foreign.outside)):
                assert here.keys() == there.keys()
                found += [
                    f"{foreign.world}: {name}: {there[name]} != {here[name]}"
                    for name in here
                    if here[name] != there[name]
                ]
    return found


@contextmanager
def seen_in_both(kind: Kind, places: tuple[str, ...]) -> Iterator[list[Seen]]:
    """A kernel of ours, then one of a foreign client for each place; they live meanwhile."""
    with tempfile.TemporaryDirectory(prefix="rlm-both-") as name:
        directory = Path(name)
        foreign = list(connection_files(directory, places))
        required = [wall for wall in WALLS if kind.tier == "ns" or wall not in ("namespaces", "scratch_quota")]
        write_spec(directory, "both", {"walls": {"required": required, "wanted": []}})
        (directory / "run").mkdir(mode=0o700)
        for path in [directory, *directory.rglob("*")]:
            if kind.uid is not None:
                os.chown(path, kind.uid, kind.uid)
        numbers = syscall_numbers(platform.machine())
        spec = {
            "kernels": str(directory / "kernels"),
            "name": "both",
            "foreign": foreign,
            "places": tried(directory, foreign),
            "calls": {name: [numbers[name], arguments] for name, arguments in CALLS.items() if name in numbers},
            "look": (PROGRAM / "look_around.py").read_text(encoding="utf-8"),
        }
        environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(directory / "run")}
        argv = [*as_user(kind), sys.executable, str(PROGRAM / "both.py"), json.dumps(spec)]
        with subprocess.Popen(
            argv, env=environment, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            lines = [program.stdout.readline() for _ in range(1 + len(foreign))]
            try:
                yield [seen(*json.loads(line)) for line in lines]
            finally:
                program.communicate(timeout=WAIT_S)
        assert program.returncode == 0
        assert list((directory / "run" / "rlm").iterdir()) == []


def connection_files(directory: Path, places: tuple[str, ...]) -> Iterator[str]:
    """A file name in each of the places, beside a stranger's file."""
    modes = {"runtime": 0o700, "tmp": 0o1777, "shared": 0o777}
    for place in places:
        around = directory / place
        if place == LONG:
            around = directory / ("d" * (199 - len(os.fsencode(directory)) - len("/k.json")))
            assert len(os.fsencode(around / "k.json")) == 200
        around.mkdir()
        around.chmod(modes.get(place, 0o755))
        (around / "stranger").write_text("a stranger's secret", encoding="utf-8")
        (around / "stranger").chmod(0o644)
        yield str(around / "k.json")


def tried(directory: Path, foreign: list[str]) -> list[str]:
    """What each kernel tries to get at: what is granted, what must not be, and what lies around a connection file."""
    around = [str(Path(path).parent / name) for path in foreign for name in ("", "k.json", "stranger")]
    machine = ["/", "/etc/passwd", "/tmp", "/proc/self", "/dev/null", "/dev/zero", "/dev/tty", "/usr/lib"]
    ours = [sys.prefix, sys.executable, str(ROOT), str(ROOT / "rlm_kernel_mcp"), str(Path.home())]
    own = [str(directory / name) for name in ("", "run", "kernels/both/policy.json")]
    return [*machine, *ours, *own, *around]


def as_user(kind: Kind) -> list[str]:
    """What a command begins with that runs as the kind's user."""
    if kind.uid is None:
        return []
    reachable = os.pathsep.join(dict.fromkeys([sys.base_prefix, sys.prefix, str(ROOT)]))
    return [*in_own_mounts(), sys.executable, str(PROGRAM / "as_nobody.py"), str(kind.uid), reachable]


def seen(world: str, pid: int, directory: str, inside: str) -> Seen:
    """What was seen, with the kernel's own directory, and a user that it has for itself, by one name."""
    found = json.loads(inside.replace(directory, "<kernel>"))
    found["ids"][0] = min(OWN_USER, found["ids"][0])
    return Seen(world, found, outside(pid, directory))


def outside(pid: int, directory: str) -> dict[str, Any]:
    """A kernel and, where it has one, its monitor, as the machine sees them; some of it root alone may look at."""
    processes = {"kernel": pid}
    if status(Path(f"/proc/{pid}"))["NSpid"] == "2":  # it has a number in a namespace of its own too
        processes["monitor"] = psutil.Process(pid).ppid()
    found: dict[str, Any] = {}
    for name, number in processes.items():
        proc = Path(f"/proc/{number}")
        found[f"{name}: status"] = status(proc)
        found[f"{name}: each thread"] = sorted({str(status(thread)) for thread in (proc / "task").iterdir()})
        found[f"{name}: limits"] = limits(proc)
        found[f"{name}: priority"] = os.getpriority(os.PRIO_PROCESS, number)
        found[f"{name}: out of memory"] = (proc / "oom_score_adj").read_text()
        if os.geteuid() == 0:
            found[f"{name}: mounts"] = mounts(proc, directory)
            found[f"{name}: descriptors but connections"] = descriptors(proc)
            found[f"{name}: listens on"] = listeners(proc, directory)
            found[f"{name}: is in our namespaces"] = {
                link.name: link.readlink() == Path("/proc/self/ns", link.name).readlink()
                for link in (proc / "ns").iterdir()
            }
    return found


def status(proc: Path) -> dict[str, str]:
    """Rights, filters, signals; of numbers in namespaces how many there are."""
    found: dict[str, str] = {}
    for line in (proc / "status").read_text(encoding="utf-8").splitlines():
        if match := STATUS.fullmatch(line):
            name, value = match.groups()
            numbers = [str(min(int(part), OWN_USER)) for part in value.split()] if name in ("Uid", "Gid") else []
            found[name] = str(len(value.split())) if name.startswith("NS") else " ".join(numbers) or value
    return found


def limits(proc: Path) -> list[str]:
    """Each but the address space, which is what a bare kernel takes and the policy's memory above it."""
    lines = (proc / "limits").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("Max address space")]


def mounts(proc: Path, directory: str) -> list[list[str]]:
    """Of each mount: what of its file system, where, how; the numbers are the moment's."""
    lines = (proc / "mountinfo").read_text(encoding="utf-8").replace(directory, "<kernel>").splitlines()
    rows = [line.split(" ") for line in lines]
    return [[*row[3:6], *row[row.index("-") + 1 :]] for row in rows]


def descriptors(proc: Path) -> list[str]:
    links = [re.sub(r"\[\d+\]", "", str(link.readlink())) for link in (proc / "fd").iterdir()]
    return sorted(link for link in links if link != "socket:")


def listeners(proc: Path, directory: str) -> list[str]:
    """Unix sockets below the kernel's directory on which somebody listens (flag SO_ACCEPTCON)."""
    rows = [line.split() for line in (proc / "net" / "unix").read_text(encoding="utf-8").splitlines()[1:]]
    return sorted(row[7][len(directory) :] for row in rows if row[3] == "00010000" and row[7:8] and directory in row[7])
