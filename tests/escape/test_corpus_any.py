"""Every case of the corpus in a real session with `RLM_IMPORT_POLICY=any`: the interpreter is the attacker's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.escape.arena import Arena, fallen, opened, unlocked
from tests.escape.cases import Case, as_parameters
from tests.escape.verdicts import tried


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """One server for all cases."""
    with opened(tmp_path_factory.mktemp("any"), "any") as made:
        yield made


@pytest.mark.parametrize("case", as_parameters())
def test_a_hostile_case_reaches_nothing_outside_its_session(arena: Arena, case: Case) -> None:
    """Judged by canaries, the neighbour session and the server itself; what the case prints counts only against it."""
    assert tried(arena, case)[1] == [], case.must


def test_the_session_has_every_wall_that_this_machine_gives(arena: Arena) -> None:
    """So that what was tried was tried against them."""
    assert fallen(arena) == ({"namespaces", "scratch_quota"} if namespaces.refusal() else set())


def test_every_thread_of_a_kernel_is_locked(arena: Arena) -> None:
    """Looked at from outside: no right in any set, no_new_privs, a filter, on every thread that ipykernel started."""
    assert unlocked(arena) == []
