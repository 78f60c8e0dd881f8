"""Every case of the corpus in a real session with `RLM_IMPORT_POLICY=any`: the interpreter is the attacker's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.escape.attack_server import AttackServer, fallen, opened, unlocked
from tests.escape.cases import Case, as_parameters
from tests.escape.verdicts import tried


@pytest.fixture(scope="module")
def attack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    """One server for all cases."""
    with opened(tmp_path_factory.mktemp("any"), "any") as made:
        yield made


@pytest.mark.parametrize("case", as_parameters(courtesies=False))
def test_a_hostile_case_reaches_nothing_outside_its_session(attack_server: AttackServer, case: Case) -> None:
    """Judged by canaries, the neighbour session and the server itself; what the case prints counts only against it."""
    assert tried(attack_server, case)[1] == [], case.must


def test_the_session_has_every_wall_that_this_machine_gives(attack_server: AttackServer) -> None:
    """So that what was tried was tried against them."""
    assert fallen(attack_server) == ({"namespaces", "scratch_quota"} if namespaces.refusal() else set())


def test_every_thread_of_a_kernel_is_locked(attack_server: AttackServer) -> None:
    """Looked at from outside: no right in any set, no_new_privs, a filter, on every thread that ipykernel started."""
    assert unlocked(attack_server) == []
