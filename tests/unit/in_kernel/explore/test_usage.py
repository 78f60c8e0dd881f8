"""What a kernel counts of its functions: which were called, and how much of the texts they went over."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context_wire import RUNS_MAX, SHOWN_MAX
from rlm_kernel_mcp.in_kernel.explore import evidence, usage
from rlm_kernel_mcp.in_kernel.explore.chunks import chunks
from rlm_kernel_mcp.in_kernel.explore.evidence import cite, quote, told
from rlm_kernel_mcp.in_kernel.explore.looking import look, tree
from rlm_kernel_mcp.in_kernel.explore.ranking import rank
from rlm_kernel_mcp.in_kernel.explore.records import records
from rlm_kernel_mcp.in_kernel.explore.searching import count, search
from rlm_kernel_mcp.in_kernel.explore.spans import Span, lines, span
from rlm_kernel_mcp.in_kernel.explore.usage import DOCUMENTS_KEPT, SPANS_KEPT, take, went_over
from rlm_kernel_mcp.in_kernel.namespace.documents import Documents
from tests.unit.in_kernel.explore.conftest import Load


@pytest.fixture(autouse=True)
def _nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_parts", {"searched": {}, "ranked": {}})
    told(claims=False)


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


def test_how_often_each_stretch_was_searched_in_a_step_is_told(load: Load) -> None:
    """One document after the other is one pass; `rank` is none, and the next step begins anew."""
    load({"a": "needle\n" * 10, "b": "x" * 30, "c": "z" * 50})
    search("nowhere")
    assert take()["passes"] == {"context": [(0, 150, 1)]}
    search("nowhere")
    search("x", docs="b")
    count("x", docs=["b", "c"])
    assert take()["passes"] == {"context": [(0, 70, 1), (70, 100, 3), (100, 150, 2)]}
    rank("needle")
    assert "passes" not in take()


def test_of_too_many_stretches_the_largest_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each context as many as of the others; too little, and never too much."""
    monkeypatch.setattr(usage, "PARTS_MAX", 2_000)
    for place in range(0, 50_000, 10):
        went_over("searched", "context", place, place + (5 if place >= 40_000 else 1))
        went_over("searched", "other", place, place + 1)
    passes = take()["passes"]
    assert {name: len(runs) for name, runs in passes.items()} == dict.fromkeys(("context", "other"), RUNS_MAX // 2)
    assert all(end - start == 5 and times == 1 for start, end, times in passes["context"])
    assert passes["context"] == sorted(passes["context"])


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=12))
def test_the_stretches_add_up_to_what_was_gone_over(parts: list[tuple[int, int]]) -> None:
    """Whatever overlaps."""
    take()
    for start, end in parts:
        went_over("searched", "context", start, end)
    runs = take().get("passes", {}).get("context", [])
    told_of = Counter(place for start, end, times in runs for place in range(start, end) for _ in range(times))
    assert told_of == Counter(place for start, end in parts for place in range(start, end))
    assert all(first[1] <= then[0] for first, then in pairwise(runs))


def test_places_whose_text_was_taken_are_told_the_last_ones_first(load: Load) -> None:
    """Each once, in characters of its document; what the functions take for themselves is not among them."""
    load({"a": "one\ntwo needle\nthree\n", "b": "needle four\n"})
    hits = search("needle")
    rank("needle")
    cite(hits[0])
    assert "shown" not in told(claims=True)
    assert [hits[0].text, str(hits[1]), hits[0].text, hits[0].before(4)] == ["needle", "needle", "needle", "two "]
    assert told(claims=False)["shown"] == [
        ("context", "a", 4, 8),
        ("context", "a", 8, 14),
        ("context", "b", 0, 6),
    ]
    assert "shown" not in told(claims=False)
    repr(hits)
    assert [row[:3] for row in told(claims=False)["shown"]] == [("context", "b", 0), ("context", "a", 8)]
    Documents("xyz", [("p", 1), ("q", 2)], "context")["q"]
    assert told(claims=False)["shown"] == [("context", "q", 0, 2)]


def test_of_too_many_places_the_last_ones_are_told(load: Load) -> None:
    """So that a loop over all of them costs next to nothing."""
    load({"a": "x\n" * 1_000})
    hits = search("x")
    texts = [hit.text for hit in hits]
    documents = Documents("x" * 1_000, [(str(number), 1) for number in range(1_000)])
    assert len(texts) == len(list(documents.values()))
    shown = told(claims=False)["shown"]
    assert len(shown) == SPANS_KEPT + DOCUMENTS_KEPT <= SHOWN_MAX
    assert (shown[0], shown[SPANS_KEPT]) == (("context", "a", 1_998, 1_999), ("context", "999", 0, 1))


def test_a_thread_that_goes_on_meanwhile_costs_no_step_its_reply(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a text while those that were taken are told, or is about to search in a context as the first one."""
    load({"a": "needle\n"})
    one = span(0, 6)
    assert (one.text, one.after(1)) == ("needle", "\n")

    def meanwhile(*place: Any) -> Span:
        usage.spans.append(one)
        return Span(*place)

    monkeypatch.setattr(evidence, "Span", meanwhile)
    assert told(claims=False)["shown"] == [("context", "a", 6, 7), ("context", "a", 0, 6)]
    usage._passes["context"] = []
    went_over("searched", "context", 0, 7)
    assert take()["passes"] == {"context": [(0, 7, 1)]}
