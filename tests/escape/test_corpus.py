"""Every case of the corpus in a real session: once with the courtesies, once with `RLM_IMPORT_POLICY=any`.

The second run shows that the walls hold alone: the interpreter is the attacker's. What looks for a way out is tried a
third time on a machine that gives no namespaces.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.escape.arena import Arena
from tests.escape.canaries import PROGRAM, users
from tests.escape.cases import Case, read_corpus
from tests.escape.verdicts import tried
from tests.parts import skip_for_lack_of
from tests.soaks.corpus import TIERS, by_case

CASES = read_corpus()
WITHOUT_NAMESPACES = (sys.executable, "-I", str(PROGRAM / "serve_without_namespaces.py"), "serve")
WAYS_OUT = ("allow", "fs-read", "fs-write", "network", "process", "kernel-surface", "kernel-integrity", "introspection")
"""Categories that are tried once more where the machine gives no namespaces; the others are not about a tier."""
SLOW = {
    *(
        "bi-shadow-print",
        "res-cpu-c-loop",
        "res-cpu-sigmask",
        "res-cpu-sort",
        "res-gil-hold",
        "res-int-pow",
        "res-int-str",
    ),
    *("res-mem-nested", "res-mem-zlib", "res-out-flood", "res-out-traceback", "res-out-warnings"),
}
"""Cases that keep a core busy for a second and more: until their time limit, or with what they make."""


@pytest.fixture(scope="module", params=["allowlist", "any"])
def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One server for all cases of an import policy; it must end without leaving anything."""
    made = Arena(tmp_path_factory.mktemp(request.param), request.param)
    yield made
    assert made.close() == []


@pytest.fixture(scope="module")
def arena_without_namespaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One server on a machine that refuses namespaces, every module importable."""
    made = Arena(tmp_path_factory.mktemp("lock"), "any", WITHOUT_NAMESPACES)
    yield made
    assert made.close() == []


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.name in SLOW else []) for case in CASES],
)
def test_a_hostile_case_reaches_nothing_outside_its_session(arena: Arena, case: Case) -> None:
    """Judged by canaries, the neighbour session and the server itself; what the case prints counts only against it."""
    assert play(arena, case) == [], case.must


@pytest.mark.parametrize("case", [case for case in CASES if case.category in WAYS_OUT], ids=lambda case: case.name)
def test_nor_without_namespaces(arena_without_namespaces: Arena, case: Case) -> None:
    """Landlock and seccomp carry it alone."""
    assert play(arena_without_namespaces, case) == [], case.must


@pytest.mark.parametrize("tier", TIERS)
def test_nor_where_the_server_is_another_users(tier: str) -> None:
    """What looks for files and processes, every module importable; all of it as every user: `bin/soak corpus`."""
    if "nobody" not in users():
        skip_for_lack_of("the right to become another user", "run it as root")
    cases = [case for case in CASES if case.category in ("fs-read", "process")]
    found = by_case("nobody", tier, "any", cases)
    assert {name: against for name, (_, against) in found.items() if against} == {}


def play(arena: Arena, case: Case) -> list[str]:
    """What speaks against a case."""
    return tried(arena, case)[1]


def test_the_session_has_every_wall_that_this_machine_gives(arena: Arena) -> None:
    """So that what was tried was tried against them."""
    assert fallen(arena) == ({"namespaces", "scratch_quota"} if namespaces.refusal() else set())


def test_without_namespaces_every_other_wall_stands(arena_without_namespaces: Arena) -> None:
    """The scratch folder is read-only there: that a kernel starts shows that IPython makes nothing in it."""
    assert fallen(arena_without_namespaces) == {"namespaces", "scratch_quota"}


def test_every_thread_of_a_kernel_is_locked(arena: Arena) -> None:
    """Looked at from outside: no right in any set, no_new_privs, a filter, on every thread that ipykernel started."""
    threads = list(Path(f"/proc/{arena.kernel().pid}/task").iterdir())
    assert len(threads) >= 5
    for thread in threads:
        status = (thread / "status").read_text(encoding="ascii")
        facts = {key: value.strip() for key, _, value in (line.partition(":") for line in status.splitlines())}
        assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")


def test_a_kernel_listens_on_its_ipc_sockets_alone(arena_without_namespaces: Arena) -> None:
    """ipykernel would open a TCP port for the output of forked children, over ipc as well."""
    connections = arena_without_namespaces.kernel().net_connections("all")
    assert {connection.family for connection in connections} == {socket.AF_UNIX}
    bound = {Path(str(connection.laddr)).name for connection in connections if str(connection.laddr)}
    assert bound == {f"s-{number}" for number in range(1, 6)}


def fallen(arena: Arena) -> set[str]:
    """The walls that a new session does not have."""
    arena.renew()
    return {name for name, holds in arena.walls.items() if not holds}


def test_the_corpus_is_whole() -> None:
    """239 cases in 14 categories, no name twice."""
    assert len(CASES) == len({case.name for case in CASES}) == 239
    assert len({case.category for case in CASES}) == 14
    assert {case.name for case in CASES} >= SLOW
