"""The hostile cases about questions, in each import policy and tier, beside an endpoint that says what reached it.

Only these need somebody to ask: the kernel has a channel, and code that finds it writes to it what it likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.escape.answered import answered
from tests.escape.attack_server import AttackServer, fallen, opened, unlocked
from tests.escape.canaries import users
from tests.escape.cases import Case, read_corpus
from tests.escape.verdicts import tried
from tests.parts import require_openai, skip_for_lack_of
from tests.soaks.corpus import TIERS, by_case

CASES: Final = read_corpus(asking=True)
FAST: Final = {
    *("que-ok", "que-garbage", "que-id-twice", "que-answer-itself", "que-forged-step", "que-closed", "que-too-large"),
    *("que-pass-descriptor", "que-another-socket", "que-model", "que-schema-remote", "que-schema-itself"),
    *("que-flood-equal", "fun-ok", "fun-not-offered", "fun-arguments", "fun-after-its-step", "fun-without"),
    *("chi-ok", "chi-cancelled", "chi-of-zero", "chi-deeper", "chi-names-another"),
    *("chi-text-lies", "chi-text-of-a-model"),
}
"""One of each kind; the fast part has these in one policy and tier."""
POLICIES_AND_TIERS: Final = [
    pytest.param(
        (policy, tier), id=f"{policy}-{tier}", marks=[] if (policy, tier) == ("any", "ns") else pytest.mark.slow
    )
    for policy in ("any", "allowlist")
    for tier in TIERS
]
"""In that of the fast part nothing is refused before a case is where it wants to be."""


@pytest.fixture(scope="module", params=POLICIES_AND_TIERS)
def attack_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackServer]:
    """One server for all cases, in each policy and tier."""
    require_openai()
    policy, tier = request.param
    directory = tmp_path_factory.mktemp("asking")
    with answered() as (settings, unseen), opened(directory, policy, TIERS[tier], **settings) as made:
        made.unseen = unseen
        yield made


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[] if case.name in FAST else pytest.mark.slow) for case in CASES],
)
def test_a_hostile_question_ends_its_own_kernel_or_is_held(attack_server: AttackServer, case: Case) -> None:
    """Judged by canaries, the endpoint, the neighbour and the server itself, and by what it has to have done."""
    assert tried(attack_server, case)[1] == [], case.must


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_nor_does_it_get_further_where_the_server_is_another_users(tier: str) -> None:
    """One of each kind, every module importable; all of it as every user: `bin/soak corpus`."""
    require_openai()
    if "nobody" not in users():
        skip_for_lack_of("the right to become another user", "run it as root")
    found = by_case("nobody", tier, "any", [case for case in CASES if case.name in FAST])
    assert {name: against for name, (_, against) in found.items() if against} == {}
    assert found.keys() == FAST


def test_a_kernel_that_may_ask_is_behind_every_wall_that_its_tier_has(attack_server: AttackServer) -> None:
    """Each thread of it is locked, those of the channel too."""
    assert attack_server.client.run(attack_server.session, "llm_query('p')")["result"] == "'echo of p'"
    assert unlocked(attack_server) == []
    assert fallen(attack_server) <= {"namespaces", "scratch_quota"}


def test_the_questions_are_whole() -> None:
    """No name twice, nor one of another category's."""
    assert len({case.name for case in [*CASES, *read_corpus()]}) == len(CASES) + len(read_corpus())
    assert len(CASES) == 82
    assert {case.name for case in CASES} > FAST
