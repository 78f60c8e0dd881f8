"""A cell that waits begins, or is taken back by its client."""

from __future__ import annotations

from rlm_kernel_mcp.in_kernel.requests.turns import KEPT, Turns


def test_a_cell_is_begun_or_taken_back_and_never_both() -> None:
    """Who is first settles it."""
    turns = Turns()
    assert turns.begin("one", "a")
    assert turns.take_back("one", ["a", "b"]) == ["b"]
    assert not turns.begin("one", "b")
    assert turns.take_back("one", ["b"]) == ["b"]


def test_nobody_takes_back_another_clients_cell() -> None:
    """The agent's step least of all."""
    turns = Turns()
    turns.take_back("console", ["a"])
    assert turns.begin("agent", "a")


def test_what_is_known_of_cells_is_bounded() -> None:
    """Whatever a client asks for."""
    turns = Turns()
    for number in range(KEPT):
        turns.take_back("one", [f"{number}-{at}" for at in range(200)])
    assert len(turns._cells) == KEPT
