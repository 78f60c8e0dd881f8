"""Quotes whose pieces stand all over the sources: what is kept of them has a bound; a rare piece loses nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rlm_kernel_mcp.session.evidence import nearest
from rlm_kernel_mcp.session.evidence.citations import Quote
from rlm_kernel_mcp.session.evidence.keys import Needles
from rlm_kernel_mcp.session.evidence.nearest import Seeds
from rlm_kernel_mcp.session.evidence.sought import Hit, Sought

STREAM = cast("Any", SimpleNamespace(spaces=False, block_of=lambda at: (0, at)))
LISTED = cast("Any", SimpleNamespace(name="a.txt", context="context", number=0))


def test_the_places_of_all_quotes_together_have_a_bound_and_a_rare_piece_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many quotes of common words an answer has. It is the pieces found most often that keep fewer places."""
    monkeypatch.setattr(nearest, "PLACES_TOGETHER", 400)
    all_sought = [Sought(Quote(f"{number} words that stand in each of the lines")) for number in range(10)]
    seeds = Seeds(all_sought)
    made = seeds.needles([b"nothing of it"], 1.0)
    needles = Needles(made)
    rare, *common = made
    places = 0
    for start in range(500):
        if start in (0, 250, 499):
            seeds.take(Hit(rare, start, STREAM, LISTED, True), needles)
        for needle in common:
            seeds.take(Hit(needle, start, STREAM, LISTED, True), needles)
            places = max(places, sum(len(one.places) for one in all_sought))
    assert 200 < places <= 400
    offset = all_sought[0].places[0].offset
    assert [one.begin + offset for one in all_sought[0].places if one.offset == offset] == [0, 250, 499]
    assert {needle.owner for needle in made if needle.is_done} == {needle.owner for needle in common}
    assert all(len({one.offset for one in sought.places}) > 1 for sought in all_sought)
