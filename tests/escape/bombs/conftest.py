"""One server for each tier and import policy that the bombs go off in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.escape.bombs.ground import Ground
from tests.parts import skip_for_lack_of


@pytest.fixture(scope="session")
def ground_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Ground]]:
    """Makes a server on first use, and ends all of them at the end."""
    made: dict[tuple[str, str], Ground] = {}

    def get(tier: str, import_policy: str) -> Ground:
        if tier == "ns" and namespaces.refusal():
            skip_for_lack_of("a machine that gives namespaces", "rlm-kernel-mcp doctor (its line on namespaces)")
        key = (tier, import_policy)
        if key not in made:
            made[key] = Ground(tmp_path_factory.mktemp(f"{tier}-{import_policy}"), tier, import_policy)
        return made[key]

    yield get
    for ground in made.values():
        ground.close()


@pytest.fixture
def ground(request: pytest.FixtureRequest, ground_of: Callable[[str, str], Ground]) -> Ground:
    """By an indirect parameter such as `ns-allowlist`."""
    tier, _, import_policy = request.param.partition("-")
    return ground_of(tier, import_policy)


@pytest.fixture
def session(ground: Ground) -> Iterator[str]:
    """A session for one bomb; it must end as any other does."""
    made = ground.open_session()
    yield made
    ground.end_session(made)
