"""One server for each tier, import policy and patience with an interrupt that the bombs go off in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rlm_kernel_mcp.in_kernel.walls import namespaces
from tests.escape.bombs.machine import Machine
from tests.parts import skip_for_lack_of


@pytest.fixture(scope="session")
def ground_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str, bool], Machine]]:
    """Makes a server on first use, and ends all of them at the end."""
    made: dict[tuple[str, str, bool], Machine] = {}

    def get(tier: str, import_policy: str, patient: bool) -> Machine:
        if tier == "ns" and namespaces.refusal():
            skip_for_lack_of("a machine that gives namespaces", "rlm-kernel-mcp doctor (its line on namespaces)")
        key = (tier, import_policy, patient)
        if key not in made:
            directory = tmp_path_factory.mktemp(f"{tier}-{import_policy}")
            made[key] = Machine(directory, tier, import_policy, patient=patient)
        return made[key]

    yield get
    for machine in made.values():
        machine.close()


@pytest.fixture
def machine(request: pytest.FixtureRequest, ground_of: Callable[[str, str, bool], Machine]) -> Machine:
    """By an indirect parameter such as `ns-allowlist` or `ns-allowlist-patient`."""
    tier, import_policy, *patient = request.param.split("-")
    return ground_of(tier, import_policy, bool(patient))


@pytest.fixture
def session(machine: Machine) -> Iterator[str]:
    """A session for one bomb; it must end as any other does."""
    made = machine.open_session()
    yield made
    machine.end_session(made)
