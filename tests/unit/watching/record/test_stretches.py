"""A context's documents become at most 64 stretches with names, whatever they are called."""

from __future__ import annotations

from itertools import accumulate

from rlm_kernel_mcp.watching.messages.stream import STRETCHES_MAX
from rlm_kernel_mcp.watching.record.stretches import Place, stretches


def places(*names: str, chars: int = 10) -> list[Place]:
    return [Place(name, number * chars, chars) for number, name in enumerate(names)]


def shown(documents: list[Place], start: int = 0, end: int = 1 << 40) -> list[tuple[str, int, int, int]]:
    return [(one["name"], one["start"], one["end"], one["documents"]) for one in stretches(documents, start, end)]


def test_the_whole_context_shows_its_folders() -> None:
    documents = places("lib/a/1.py", "lib/a/2.py", "lib/b/1.py", "lib/c.py", "lib/d.py")
    assert shown(documents) == [("lib/a", 0, 20, 2), ("lib/b", 20, 30, 1), ("(top level)", 30, 50, 2)]


def test_a_folder_shows_its_documents() -> None:
    documents = places("lib/a/1.py", "lib/a/2.py", "lib/b/1.py")
    assert shown(documents, 0, 20) == [("lib/a/1.py", 0, 10, 1), ("lib/a/2.py", 10, 20, 1)]


def test_a_document_has_no_more_than_itself() -> None:
    assert shown(places("a", "b", "c"), 10, 20) == [("b", 10, 20, 1)]


def test_a_context_without_documents_has_no_stretches() -> None:
    assert shown([]) == []


def test_an_empty_document_is_one_all_the_same() -> None:
    assert shown([Place("a", 0, 0), Place("b", 0, 5)]) == [("a", 0, 0, 1), ("b", 0, 5, 1)]


def test_of_many_the_largest_keep_their_names() -> None:
    sizes = [5 if number % 10 else 1_000 for number in range(500)]
    starts = [0, *accumulate(sizes)]
    documents = [Place(f"{n}.txt", at, size) for n, (at, size) in enumerate(zip(starts, sizes, strict=False))]
    found = stretches(documents, 0, starts[-1])
    assert len(found) <= STRETCHES_MAX
    assert sum(one["documents"] for one in found) == 500
    assert [one["end"] for one in found][:-1] == [one["start"] for one in found][1:]
    assert {"9 others"} < {one["name"] for one in found}


def test_names_that_lead_nowhere_are_names() -> None:
    documents = places("/", "//", "../x", "", "a//b", "\u202e/evil")
    found = stretches(documents, 0, 60)
    assert sum(one["documents"] for one in found) == 6


def test_folders_that_come_again_and_again_are_no_more_than_64() -> None:
    found = stretches(places(*(f"{n % 7}/{n}" for n in range(10_000))), 0, 100_000)
    assert len(found) <= STRETCHES_MAX
    assert sum(one["documents"] for one in found) == 10_000
