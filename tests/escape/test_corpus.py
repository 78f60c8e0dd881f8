"""Every case of the corpus in a real session under the shipped policy, its courtesies on.

`test_corpus_any.py` has them all once more with `RLM_IMPORT_POLICY=any`: the walls hold alone. What looks for a way out
is tried a third time on a machine that gives no namespaces (`test_corpus_without_namespaces.py`).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.escape.attack_server import AttackServer, fallen, opened, unlocked
from tests.escape.canaries import users
from tests.escape.cases import SLOW, Case, as_parameters, read_corpus
from tests.escape.verdicts import tried
from tests.parts import skip_for_lack_of
from tests.soaks.corpus import by_case


@pytest.fixture(scope="module")
def attack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    """One server for all cases."""
    with opened(tmp_path_factory.mktemp("allowlist"), "allowlist") as made:
        yield made


@pytest.mark.parametrize("case", as_parameters(courtesies=True))
def test_a_hostile_case_reaches_nothing_outside_its_session(attack_server: AttackServer, case: Case) -> None:
    """Judged by canaries, the neighbour session and the server itself; what the case prints counts only against it."""
    assert tried(attack_server, case)[1] == [], case.must


def test_the_session_has_every_wall_that_this_machine_gives(attack_server: AttackServer) -> None:
    """So that what was tried was tried against them."""
    assert fallen(attack_server) == ({"namespaces", "scratch_quota"} if namespaces.refusal() else set())


def test_every_thread_of_a_kernel_is_locked(attack_server: AttackServer) -> None:
    """Looked at from outside: no right in any set, no_new_privs, a filter, on every thread that ipykernel started."""
    assert unlocked(attack_server) == []


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["ns", "lock"])
def test_nor_where_the_server_is_another_users(tier: str) -> None:
    """What looks for files and processes, every module importable; all of it as every user: `bin/soak corpus`."""
    if "nobody" not in users():
        skip_for_lack_of("the right to become another user", "run it as root")
    cases = [case for case in read_corpus() if case.category in ("fs-read", "process")]
    found = by_case("nobody", tier, "any", cases)
    assert {name: against for name, (_, against) in found.items() if against} == {}


def test_the_corpus_is_whole() -> None:
    """241 cases in 14 categories, no name twice."""
    cases = read_corpus()
    assert len(cases) == len({case.name for case in cases}) == 241
    assert len({case.category for case in cases}) == 14
    assert {case.name for case in cases} >= SLOW
