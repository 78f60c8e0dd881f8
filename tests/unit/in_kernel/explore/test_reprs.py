"""What is shown of a value of ours costs little of a model's window, whatever is in the texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.explore.chunks import chunks
from rlm_kernel_mcp.in_kernel.explore.evidence import cite
from rlm_kernel_mcp.in_kernel.explore.looking import look, tree
from rlm_kernel_mcp.in_kernel.explore.ranking import rank
from rlm_kernel_mcp.in_kernel.explore.records import records
from rlm_kernel_mcp.in_kernel.explore.searching import count, search
from rlm_kernel_mcp.in_kernel.explore.spans import REPR_CHARS, lines, span
from tests.unit.in_kernel.explore.conftest import Load

MAKE: dict[str, Callable[[], Any]] = {
    "hits": lambda: search("e"),
    "hits of a pattern": lambda: search(r"(?s)(.).*(.)", regex=True),
    "hits with a note": lambda: search(r"(?=.)(.)(?=.)(.)(.)", regex=True),
    "no hits": lambda: search("there is no such thing" * 50),
    "many words": lambda: search(["e", *(f"word {number}" for number in range(500))]),
    "a hit": lambda: search(r"(?s)(.*)", regex=True)[0],
    "counts": lambda: count("e"),
    "shapes": lambda: count("e", by="line shape"),
    "a line": lambda: lines(1),
    "lines": lambda: lines(1, -1),
    "a span": lambda: span(0),
    "chunks": lambda: chunks(2_000),
    "a chunk": lambda: chunks(2_000, by="chars")[0],
    "ranked": lambda: rank("the word e", over=chunks(500, by="chars")),
    "records": lambda: records(kind="csv"),
    "bad records": lambda: records(kind="jsonl"),
    "a bad record": lambda: records(kind="jsonl")[0],
    "a look": look,
    "a tree": lambda: tree(9),
    "a claim": lambda: cite((0, 5), "note " * 500),
}
TEXTS = {
    "long lines": "the word e " * 50_000,
    "short lines": "e\n" * 50_000,
    "nothing printable": "e\x00\x1b[31m\u202e\U000e0001\udc80\n" * 5_000,
    "quotes": "e'\"\\,{}\n# e\n" * 5_000,
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", MAKE)
def test_a_repr_is_short_and_nothing_in_it_acts(load: Load, name: str, text: str) -> None:
    """At most 900 characters, of which each can be printed."""
    documents = {f"{'directory/' * 30}{index:03d}\u202e{'n' * 200}.md": TEXTS[text] for index in range(4)}
    load(documents)
    shown = repr(MAKE[name]())
    assert 0 < len(shown) <= REPR_CHARS
    assert all(one.isprintable() or one == "\n" for one in shown)


def test_a_carriage_return_of_a_line_s_end_is_not_shown(load: Load) -> None:
    """One in a line is, and one that is the match itself."""
    load({"a": "one\rtwo needle\r\nthree\r\n\r"})
    assert repr(search("needle")[0]) == "context:1: one\\rtwo needle"
    assert repr(search("needle\r")[0]) == "context:1: one\\rtwo needle\\r"
    assert repr(lines(1, -1)) == "context: lines 1 to 3, 24 characters\none\\rtwo needle\nthree\n\\r"
    assert repr(lines(2)) == "context: line 2, 7 characters\nthree"
