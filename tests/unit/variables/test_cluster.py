"""How a node of a cluster is set up: what each variable may say, and what is said of one that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.settings import doubts, load_settings
from rlm_kernel_mcp.variables.cluster import CLUSTER_TABLE, ClusterSettings, load_cluster_settings

STORE = {"RLM_CLUSTER_STORE": "/mnt/shared"}


def test_a_node_needs_a_store_and_nothing_else() -> None:
    settings = load_cluster_settings(STORE)
    assert settings == ClusterSettings(settings.node, "/mnt/shared", "ack", 2_000, 64)
    assert settings.node
    assert settings.node[0] in os.uname().nodename


def test_an_option_goes_before_a_variable() -> None:
    environ = {**STORE, "RLM_CLUSTER_NODE": "one", "RLM_CLUSTER_DURABILITY": "lag"}
    settings = load_cluster_settings(environ, {"RLM_CLUSTER_NODE": "two", "RLM_CLUSTER_DURABLE_MS": "50"})
    assert (settings.node, settings.durability, settings.durable_ms, settings.waits) == ("two", "lag", 50, False)


def test_a_node_may_have_a_part_of_a_machine_s_memory() -> None:
    assert load_cluster_settings({**STORE, "RLM_CLUSTER_MEMORY_MB": "2048"}).memory_mb == 2_048
    assert load_cluster_settings(STORE).memory_mb == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RLM_CLUSTER_STORE", "", "RLM_CLUSTER_STORE is not set"),
        ("RLM_CLUSTER_STORE", "shared", "neither an absolute path nor an address"),
        ("RLM_CLUSTER_STORE", "s3:// two words", "is not an address"),
        ("RLM_CLUSTER_STORE", "/mnt/\0", "neither an absolute path nor an address"),
        ("RLM_CLUSTER_NODE", "../up", "is not the name of a node"),
        ("RLM_CLUSTER_NODE", "n" * 64, "is not the name of a node"),
        ("RLM_CLUSTER_DURABILITY", "maybe", "known values: ack, lag"),
        ("RLM_CLUSTER_DURABLE_MS", "0", "whole number of milliseconds from 1 to 600000"),
        ("RLM_CLUSTER_DURABLE_MB", "-1", "whole number of MB from 1 to 65536"),
    ],
)
def test_what_is_wrong_is_named_with_what_may_be_there(name: str, value: str, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_cluster_settings({**STORE, name: value} if value else {}, None)
    assert said in refused.value.message


def test_an_address_that_may_hold_a_key_is_not_shown() -> None:
    with pytest.raises(InvalidInput) as refused:
        load_cluster_settings({"RLM_CLUSTER_STORE": "s3://key:secret @bucket"})
    assert "secret" not in refused.value.message


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no setting RLM_CLUSTER_NOODLE"):
        load_cluster_settings(STORE, {"RLM_CLUSTER_NOODLE": "1"})


def test_a_server_without_a_cluster_reads_none_of_it_and_knows_the_names() -> None:
    environ = {"HOME": "/", **{row.variable: "!" for row in CLUSTER_TABLE}}
    assert list(doubts(environ, load_settings(Path.cwd(), environ))) == []


def test_a_misspelt_name_is_told_with_the_one_that_was_meant() -> None:
    environ = {"HOME": "/", "RLM_CLUSTER_DURABLITY": "lag"}
    (said,) = doubts(environ, load_settings(Path.cwd(), environ))
    assert "did you mean RLM_CLUSTER_DURABILITY?" in said
