"""Which of Ray's machines get sessions, and their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlm_kernel_mcp.cluster.machines import name_of, of_sessions

HEAD = "node:__internal_head__"


def row(
    number: str, resources: Mapping[str, float] | None = None, *, alive: bool = True, name: str = ""
) -> dict[str, Any]:
    labels = {"rlm-node": name} if name else {}
    host = {"NodeManagerHostname": "worker_1", "Labels": labels}
    return {"NodeID": number * 8, "Alive": alive, "Resources": dict(resources or {}), **host}


def test_all_but_the_head_have_sessions_where_nobody_says_which() -> None:
    rows = [row("a", {HEAD: 1.0}), row("b"), row("c"), row("d", alive=False)]
    assert of_sessions(rows) == rows[1:3]


def test_a_head_that_is_alone_has_them() -> None:
    rows = [row("a", {HEAD: 1.0}), row("b", alive=False)]
    assert of_sessions(rows) == rows[:1]


def test_where_some_are_marked_they_alone_have_them() -> None:
    rows = [row("a", {HEAD: 1.0}), row("b"), row("c", {"rlm": 1.0}), row("d", {"rlm": 1.0}, alive=False)]
    assert of_sessions(rows) == rows[2:3]


def test_without_machines_there_are_none() -> None:
    assert of_sessions([]) == []


def test_a_machine_is_called_by_its_label_or_by_its_host_s_name_and_number() -> None:
    assert name_of(row("a", name="node-1")) == "node-1"
    assert name_of(row("a")) == "worker_1-aaaaaaaa"
    assert name_of(row("a", name="../a b")) == "a-b"
    assert name_of(row("a", name="machine-" + "x" * 62)) == "x" * 62  # what is left begins as a name has to
