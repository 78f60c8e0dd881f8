"""What looks for a way out, on a machine that gives no namespaces: Landlock and seccomp carry it alone."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.escape.attack_server import AttackServer, fallen, opened
from tests.escape.canaries import PROGRAM
from tests.escape.cases import Case, read_corpus
from tests.escape.verdicts import tried

SERVE = (sys.executable, "-I", str(PROGRAM / "serve_without_namespaces.py"), "serve")
WAYS_OUT = ("allow", "fs-read", "fs-write", "network", "process", "kernel-surface", "kernel-integrity", "introspection")
"""Categories that are tried once more where the machine gives no namespaces; the others are not about a tier."""
CASES = [case for case in read_corpus() if case.category in WAYS_OUT]


@pytest.fixture(scope="module")
def attack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    """One server on a machine that refuses namespaces, every module importable."""
    with opened(tmp_path_factory.mktemp("lock"), "any", SERVE) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nor_without_namespaces(attack_server: AttackServer, case: Case) -> None:
    """Judged as in `test_corpus.py`."""
    assert tried(attack_server, case)[1] == [], case.must


def test_without_namespaces_every_other_wall_stands(attack_server: AttackServer) -> None:
    """The scratch directory is read-only there: that a kernel starts shows that IPython makes nothing in it."""
    assert fallen(attack_server) == {"namespaces", "scratch_quota"}


def test_a_kernel_listens_on_its_ipc_sockets_alone(attack_server: AttackServer) -> None:
    """ipykernel would open a TCP port for the output of forked children, over ipc as well."""
    connections = attack_server.kernel().net_connections("all")
    assert {connection.family for connection in connections} == {socket.AF_UNIX}
    bound = {Path(str(connection.laddr)).name for connection in connections if str(connection.laddr)}
    assert bound == {f"s-{number}" for number in range(1, 6)}
