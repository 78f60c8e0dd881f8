"""What a person is told of a node that was told to empty itself."""

from __future__ import annotations

from rlm_kernel_mcp.cluster.node.messages import Load
from rlm_kernel_mcp.commands.clustering.status import drained


def load(sessions: int, **staying: str) -> Load:
    return Load("n0", 1_024, 1_024, 128, sessions, draining=True, staying=staying)


def test_a_node_that_is_empty_may_be_stopped() -> None:
    assert drained("n0", load(0)) == ["n0 takes no more sessions, and has none; its machine may be stopped."]


def test_why_a_session_stays_is_said() -> None:
    """Of each it was said that a step is running, also where the store had not taken it."""
    assert drained("n0", load(1, s_a="The shared store is full.")) == [
        "n0 takes no more sessions; 1 is still there, and goes as soon as what keeps it ends:",
        "  s_a: The shared store is full.",
    ]


def test_those_that_are_too_many_are_counted() -> None:
    assert drained("n0", load(3, s_a="A step is running.\x1b[2J"))[1:] == [
        "  s_a: A step is running.\\x1b[2J",
        "  and 2 more",
    ]
