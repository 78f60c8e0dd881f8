"""Which cluster a process becomes a part of, and its token."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rlm_kernel_mcp.cluster.place import ClusterPlace, forget, found_place, leave, made_token, of_ray
from rlm_kernel_mcp.errors import InvalidInput
from tests.cluster.keeper import give_token


def test_without_a_cluster_the_two_ways_to_one_are_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="RAY_ADDRESS is not set") as refused:
        found_place("auto", {}, tmp_path)
    assert "cluster up" in refused.value.next_step


def test_the_cluster_of_this_machine_is_found_until_it_is_forgotten(tmp_path: Path) -> None:
    place = ClusterPlace("127.0.0.1:6379", made_token(tmp_path))
    leave(tmp_path, place)
    assert found_place("auto", {}, tmp_path) == place
    forget(tmp_path, ClusterPlace("127.0.0.1:1", ""))
    assert found_place("auto", {}, tmp_path) == place  # another one's end takes nothing away
    forget(tmp_path, place)
    with pytest.raises(InvalidInput):
        found_place("auto", {}, tmp_path)


def test_an_address_of_ray_s_own_variable_comes_first(tmp_path: Path) -> None:
    leave(tmp_path, ClusterPlace("127.0.0.1:6379", "/token"))
    assert found_place("auto", {"RAY_ADDRESS": "head:6379"}, tmp_path) == ClusterPlace("head:6379")
    assert found_place("127.0.0.1:6379", {}, tmp_path).token_path == "/token"


@pytest.mark.parametrize("address", ["", "head", "ray://head:10001", "head:port", "head:6379/x", "a b:1"])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(InvalidInput, match="is not the address of a cluster"):
        found_place(address, {}, tmp_path)


def test_a_file_that_nobody_can_read_is_no_cluster(tmp_path: Path) -> None:
    leave(tmp_path, ClusterPlace("127.0.0.1:6379", ""))
    (tmp_path / "cluster" / "place.json").write_text("[]")
    with pytest.raises(InvalidInput):
        found_place("auto", {}, tmp_path)


def test_a_token_is_made_once_and_is_of_this_user_alone(tmp_path: Path) -> None:
    path = Path(made_token(tmp_path))
    token = path.read_text()
    assert len(token) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert Path(made_token(tmp_path)).read_text() == token


def test_the_clusters_that_a_test_or_bench_has_one_after_the_other_ask_for_one_token(tmp_path: Path) -> None:
    """Ray reads it once in each process: the second cluster refused whoever had been in the first."""
    paths = [Path(made_token(tmp_path / name)) for name in ("one", "two")]
    for name in ("one", "two"):
        give_token(tmp_path / name)
    assert paths[0].read_text() == paths[1].read_text()
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600, 0o600]


def test_ray_is_always_told_to_ask_for_a_token_and_to_report_nothing() -> None:
    said = of_ray(ClusterPlace("h:1", "/t"), {"RAY_AUTH_MODE": "disabled"})
    expected = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_TOKEN_PATH": "/t"}
    assert said.items() >= expected.items()
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in said
    own = of_ray(ClusterPlace("h:1", "/t"), {"RAY_AUTH_TOKEN": "mine"})
    assert "RAY_AUTH_TOKEN_PATH" not in own


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1"])
def test_a_cluster_of_this_machine_stays_on_loopback(address: str) -> None:
    """Otherwise Ray takes loopback for the machine's name in a network, and listens there."""
    assert of_ray(ClusterPlace(address, ""), {})["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
