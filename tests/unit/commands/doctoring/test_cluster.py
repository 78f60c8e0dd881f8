"""What doctor says of a node of a cluster: nothing where none was asked for."""

from __future__ import annotations

from pathlib import Path

from rlm_kernel_mcp.commands.doctoring.cluster import cluster_lines


def test_of_a_server_without_a_cluster_nothing_is_said() -> None:
    assert list(cluster_lines({"HOME": "/", "RLM_STATE_DIR": "/state"})) == []


def test_a_node_is_named_with_what_its_answers_wait_for(tmp_path: Path) -> None:
    environ = {"RLM_CLUSTER_NODE": "n1", "RLM_CLUSTER_STORE": str(tmp_path / "store")}
    first, second = cluster_lines(environ)
    assert first == (
        "As a node of a cluster this is n1; an answer waits for the shared store, 2,000 ms and 64 MB of values."
    )
    assert str(tmp_path / "store") in second
    first, _ = cluster_lines({**environ, "RLM_CLUSTER_DURABILITY": "lag"})
    assert "the last step may be lost" in first


def test_a_folder_that_is_not_there_is_told_with_what_to_do() -> None:
    _, second, fix = cluster_lines({"RLM_CLUSTER_STORE": "/nowhere/mounted/store"})
    assert "/nowhere/mounted is not there" in second
    assert "mount the shared file system" in fix


def test_an_address_is_not_shown_since_it_may_hold_a_key() -> None:
    said = "\n".join(cluster_lines({"RLM_CLUSTER_STORE": "s3://key:secret@bucket/way"}))
    assert "s3" in said
    assert "secret" not in said


def test_a_setting_that_is_wrong_is_told_with_its_fix() -> None:
    first, fix = cluster_lines({"RLM_CLUSTER_DURABILITY": "lag"})
    assert "RLM_CLUSTER_STORE is not set" in first
    assert fix.startswith("  fix: Set it")
