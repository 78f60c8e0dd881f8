"""What a kernel counts of its functions: which were called, and how much of the texts they went over."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.in_kernel.explore import usage
from rlm_kernel_mcp.in_kernel.explore.chunks import chunks
from rlm_kernel_mcp.in_kernel.explore.evidence import cite, quote
from rlm_kernel_mcp.in_kernel.explore.looking import look, tree
from rlm_kernel_mcp.in_kernel.explore.ranking import rank
from rlm_kernel_mcp.in_kernel.explore.records import records
from rlm_kernel_mcp.in_kernel.explore.searching import count, search
from rlm_kernel_mcp.in_kernel.explore.spans import lines, span
from rlm_kernel_mcp.in_kernel.explore.usage import take, went_over
from tests.unit.in_kernel.explore.conftest import Load


@pytest.fixture(autouse=True)
def _nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_parts", {"searched": {}, "ranked": {}})
    take()


def test_each_call_counts_once_and_what_a_function_calls_itself_does_not(load: Load) -> None:
    """Also a call that fails; and the count begins anew."""
    load({"a.jsonl": '{"k": 1}\n{"k": 2}\n'})
    made = look(), tree(), records(), chunks(), lines(1), span(0, 3), cite((0, 3))
    found = search("k"), count("k"), rank("k"), quote("k")
    assert None not in made + found
    with pytest.raises(ValueError, match="nothing to look for"):
        search("")
    once = dict.fromkeys(("look", "tree", "records", "chunks", "lines", "span", "cite", "count", "rank", "quote"), 1)
    assert take()["functions"] == {**once, "search": 2}
    assert take() == {}


def test_a_character_that_was_gone_over_twice_is_one(load: Load) -> None:
    """By document and over all; what a limit or the first place of a passage left out is not counted."""
    load({"a": "needle\n" * 10, "b": "x" * 30 + "\n", "c": "z" * 50})
    search("x", docs="a")
    assert take()["explored"] == [("context", 70, 0)]
    search("x", docs="a")
    count("x", docs=["b", "a"])
    assert take()["explored"] == [("context", 101, 0)]
    search("needle", limit=1)
    quote("needle")
    rank("needle", over="a")
    assert take()["explored"] == [("context", 101, 70)]
    search("nowhere")
    assert take()["explored"] == [("context", 151, 70)]
    lines(1)
    assert "explored" not in take()


def test_what_a_search_was_stopped_in_counts_as_far_as_it_came(load: Load) -> None:
    """A page of hits is not the whole text."""
    load({"a": "x\n" * 200_000})
    search("x", limit=2)
    [(_, searched, _)] = take()["explored"]
    assert 3 <= searched < 400_000


def test_of_too_many_parts_the_largest_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little, and never too much."""
    monkeypatch.setattr(usage, "PARTS_MAX", 10)
    for place in range(0, 10_000, 10):
        went_over("searched", "context", place, place + (5 if place >= 9_900 else 1))
    [(_, searched, _)] = take()["explored"]
    assert searched == 50
