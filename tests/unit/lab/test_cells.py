"""Cells of pages that have not ended: whom an interrupt is for."""

from __future__ import annotations

from rlm_kernel_mcp.lab.cells import KEPT, Cells


def test_those_that_have_not_ended_go_by_whoever_sent_them() -> None:
    """In their order, so that one that runs stands before those that wait."""
    cells = Cells()
    assert cells.by_session() == {}
    for number in range(4):
        cells.begin(f"m{number}", "page" if number % 2 else "other")
    cells.end("m1")
    cells.end("m1")
    cells.end("nobody's")
    assert cells.by_session() == {"other": ["m0", "m2"], "page": ["m3"]}


def test_only_the_newest_are_kept() -> None:
    """What a kernel never answers takes no room without end."""
    cells = Cells()
    for number in range(3 * KEPT):
        cells.begin(f"m{number}", "page")
    kept = cells.by_session()["page"]
    assert (len(kept), kept[-1]) == (KEPT, f"m{3 * KEPT - 1}")
