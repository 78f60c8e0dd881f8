"""Whether a Ray asks for a token is tried by one who has none; one that takes anybody is no cluster of ours."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from types import ModuleType

import pytest

from rlm_kernel_mcp.cluster.place import ClusterPlace, refuses_strangers
from rlm_kernel_mcp.errors import InvalidInput
from tests.cluster.keeper import Keeper
from tests.parts import require_ray

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.timeout(180)]
PLACE = ClusterPlace("192.0.2.1:6379")


def test_a_cluster_of_ours_refuses_whoever_has_no_token(keeper: Keeper) -> None:
    assert refuses_strangers(ClusterPlace(keeper.address), os.environ)


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What connects, with a Ray in a network that lets in whoever comes, and no other that it is a part of."""
    require_ray()
    found = importlib.import_module("rlm_kernel_mcp.cluster.ray_actors")
    monkeypatch.setattr(found, "_connected", [])
    monkeypatch.setattr(found.ray._raylet, "GcsClient", lambda **_: None)
    monkeypatch.setattr(found.ray, "init", lambda *_, **__: None)
    monkeypatch.setattr(found.ray, "nodes", lambda: [{"NodeManagerAddress": "192.0.2.1", "Alive": True}])
    monkeypatch.setattr(found.worker, "print_to_stdstream", None)
    return found


def left(actors: ModuleType, monkeypatch: pytest.MonkeyPatch, is_refused: Callable[[], bool]) -> int:
    """How often it is left; whether strangers are refused there is asked by that."""
    times = list[None]()
    monkeypatch.setattr(actors.ray, "shutdown", lambda: times.append(None))
    monkeypatch.setattr(actors, "refuses_strangers", lambda *_: is_refused())
    for _ in range(2):
        with pytest.raises((InvalidInput, OSError), match=r"asks for no token|nobody can say"):
            actors.connect(PLACE)
    return len(times)


def test_a_cluster_that_takes_anybody_is_left_each_time(actors: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert left(actors, monkeypatch, lambda: False) == 2


def test_a_cluster_of_which_that_is_not_known_is_left_each_time(
    actors: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time too: who was let in once by a mistake would not be asked again."""

    def fails() -> bool:
        raise OSError("nobody can say")

    assert left(actors, monkeypatch, fails) == 2
