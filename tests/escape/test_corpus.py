"""Every case of the corpus in a real session: once with the courtesies, once with `RLM_IMPORT_POLICY=any`.

The second run shows that the walls hold alone: the interpreter is the attacker's.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.escape.arena import Arena
from tests.escape.cases import Case, read_corpus
from tests.escape.verdicts import problems

CASES = read_corpus()


@pytest.fixture(scope="module", params=["allowlist", "any"])
def arena(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Arena, bool]]:
    """One server for all cases of an import policy; it must end without leaving anything."""
    made = Arena(tmp_path_factory.mktemp(request.param), request.param)
    yield made, request.param == "allowlist"
    assert made.close() == []


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_hostile_case_reaches_nothing_outside_its_session(arena: tuple[Arena, bool], case: Case) -> None:
    """Judged by canaries, the neighbour session and the server itself; what the case prints counts only against it."""
    place, courtesies = arena
    seen = place.play(case)
    found = problems(case, seen, courtesies=courtesies)
    healthy = place.answers_plainly()
    if not healthy:
        place.renew()
    if courtesies and case.expect == "refuse" and not healthy:
        found.append("the kernel was not well afterwards")
    assert found == [], case.must


def test_the_corpus_is_whole() -> None:
    """239 cases in 14 categories, no name twice."""
    assert len(CASES) == len({case.name for case in CASES}) == 239
    assert len({case.category for case in CASES}) == 14
