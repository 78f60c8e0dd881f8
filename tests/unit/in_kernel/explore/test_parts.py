"""`chunks`, `rank`, `records`, `look`, `tree`: the texts in parts, and what is in them."""

from __future__ import annotations

import csv
import io
import json
import pickle
import random
import re
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.in_kernel.explore.chunks import WAYS, chunks
from rlm_kernel_mcp.in_kernel.explore.looking import look, tree
from rlm_kernel_mcp.in_kernel.explore.ranking import rank
from rlm_kernel_mcp.in_kernel.explore.records import Bad, records
from rlm_kernel_mcp.in_kernel.explore.sources import set_source
from tests.unit.in_kernel.explore.conftest import Load, source_of

MARKDOWN: Final = "# Title\nintro\n\n## One\nalpha\n\nbeta\n\n## Two\n" + "gamma delta\n" * 30
texts = st.lists(st.text(st.sampled_from("ab \n\r\t#=\xe9\U0001f680"), max_size=80), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(documents=texts, size=st.integers(1, 40), by=st.sampled_from(sorted(WAYS)))
def test_chunks_joined_are_the_text(documents: list[str], size: int, by: str) -> None:
    """Each is of one document, is not empty, and has the size at most."""
    set_source(source_of({f"{index}": text for index, text in enumerate(documents)}))
    cut = chunks(size, by=by)
    for name, text in zip(map(str, range(len(documents))), documents, strict=True):
        assert "".join(chunk.text for chunk in cut if chunk.doc == name) == text
    assert all(0 < len(chunk) <= size or by == "documents" for chunk in cut)
    assert [chunk.start for chunk in cut] == [cut[index].start for index in range(len(cut))]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("ab\n"), max_size=80), size=st.integers(3, 20), overlap=st.integers(0, 2))
def test_a_chunk_begins_with_the_end_of_the_one_before(text: str, size: int, overlap: int) -> None:
    """`overlap` characters of it."""
    set_source(source_of({"one": text}))
    plain, over = chunks(size), chunks(size, overlap=overlap)
    assert [chunk.end for chunk in over] == [chunk.end for chunk in plain]
    assert [chunk.start for chunk in over] == [max(0, chunk.start - overlap) for chunk in plain]


def test_chunks_are_cut_at_sensible_boundaries(load: Load) -> None:
    """At a line's end, a blank line, a heading; what has none is cut at the next smaller place."""
    load({"a": MARKDOWN})
    assert all(chunk.text.endswith("\n") for chunk in chunks(50))
    assert [chunk.text for chunk in chunks(34, by="paragraphs")][:2] == [
        "# Title\nintro\n\n## One\nalpha\n\n",
        "beta\n\n",
    ]
    sections = [chunk.text for chunk in chunks(200, by="headings")]
    assert sections[:2] == ["# Title\nintro\n\n", "## One\nalpha\n\nbeta\n\n"]
    assert sections[2].startswith("## Two\n")
    assert [chunk.line for chunk in chunks(200, by="headings")][:3] == [1, 4, 9]
    assert [len(chunk) for chunk in chunks(100, by="chars")][:-1] == [100] * (len(MARKDOWN) // 100)


def test_chunks_are_lazy_indexed_and_counted(load: Load) -> None:
    """Nothing is cut that nobody looks at."""
    load({"a": "line\n" * 100_000})
    cut = chunks(50)
    assert repr(cut).splitlines()[::6] == [
        "chunks, cut as they are asked for, by lines of up to 50 characters",
        "… more, chunks[5:]",
    ]
    load({"a": "line\n" * 100_000})
    cut = chunks(50)
    assert (cut[3].line, len(cut._starts)) == (31, 4)
    assert (len(cut), cut[-1].last_line, [chunk.line for chunk in cut[1:3]]) == (10_000, 100_000, [11, 21])
    assert pickle.loads(pickle.dumps(cut))[9_999] == cut[-1]
    assert repr(cut).splitlines()[::6] == ["10,000 chunks by lines of up to 50 characters", "… 9,995 more, chunks[5:]"]
    with pytest.raises(IndexError):
        cut[10_000]
    with pytest.raises(ValueError, match="by is one of 'chars'"):
        chunks(by="words")
    with pytest.raises(ValueError, match="overlap below it"):
        chunks(10, overlap=10)


def test_the_most_relevant_chunks_come_first(load: Load) -> None:
    """By BM25: rare words count more; signs, quotes and NULs do no harm."""
    words = random.Random(3)
    filler = [" ".join(words.choice(["red", "green", "blue", "grey", "pink"]) for _ in range(40)) for _ in range(50)]
    load({f"{index}.txt": text + "\n" for index, text in enumerate(filler)})
    load({"n": "red the needle is here\x00\udc80\n"}, first=False, name="more")
    found = rank('"needle" AND red* (', k=3)
    assert (found[0].doc, found[0].text[:14], len(found), found.engine) == ("n", "red the needle", 3, "fts5")
    scores = [hit.score for hit in found if hit.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert [hit.doc for hit in rank("needle", over="documents")] == ["n"]
    assert [hit.doc for hit in rank("needle", over="1*.txt")] == []
    assert rank("needle", over=chunks(40))[0].text == "red the needle is here\x00\udc80\n"
    assert rank("needle")[0].score == rank("needle")[0].score
    with pytest.raises(ValueError, match="there are no words"):
        rank("?!")


def test_an_index_is_made_once_for_texts_that_are_the_same(load: Load) -> None:
    """And again for others under the same name."""
    load({"a": "one\n"})
    assert len(rank("one")) == 1
    load({"a": "two\n"})
    assert (len(rank("one")), len(rank("two"))) == (0, 1)


def test_lines_of_json_are_records_and_a_bad_one_ends_nothing(load: Load) -> None:
    """It says in which line and why."""
    load({"a.jsonl": '{"a": 1}\n\n[2]\r\n{"a": \nnull\n' + "[" * 100_000 + '\n"last"'})
    found = list(records("a.jsonl"))
    assert found[:2] == [{"a": 1}, [2]]
    assert (found[3], found[5]) == (None, "last")
    assert isinstance(found[2], Bad)
    assert (found[2].line, found[4].line) == (4, 6)
    assert (len(records()), records()[-1], records()[1:2]) == (6, "last", [[2]])


def test_what_seems_to_have_no_records_is_not_read_as_if_it_had(load: Load) -> None:
    """Prose is no CSV of one column, unless somebody says so."""
    load({"a.md": MARKDOWN, "b.txt": "name\nx\n", "c.txt": ""})
    with pytest.raises(ValueError, match=r"a\.md begins neither as JSON nor as CSV: say which it is \(kind='csv'\)"):
        records("a.md")
    assert list(records("b.txt", kind="csv")) == [{"name": "x"}]
    assert list(records("c.txt")) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[{"a": 1}, 2 ,\n "x" ]\n', [{"a": 1}, 2, "x"]),
        ("[]", []),
        (' {"a": [1, 2]} ', [{"a": [1, 2]}]),
        ("[1, 2", [1, Bad(1, "a comma or the end of the list is missing")]),
        ('[1,\n {"a":\n nope}]', [1, Bad(2, "Expecting value, in line 3")]),
        ("[1,\n nope]", [1, Bad(2, "Expecting value")]),
        ("[1] 2", [1, Bad(1, "there is more behind the list")]),
    ],
)
def test_the_items_of_a_list_are_records(load: Load, text: str, wanted: list[Any]) -> None:
    """One value alone is one record."""
    load({"before": "x\n" * 10, "a.json": text})
    assert list(records("a.json")) == wanted


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.text(st.sampled_from('ab,"\n\r;'), max_size=4), min_size=2, max_size=2), max_size=8))
def test_rows_of_csv_are_dicts_by_the_first_line(rows: list[list[str]]) -> None:
    """Also with line ends, commas and quotes in a field."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["x", "y"], *rows])
    set_source(source_of({"a.csv": written.getvalue()}))
    wanted = [dict(zip("xy", row, strict=True)) for row in rows]
    assert list(records()) == wanted
    assert [records()[index] for index in range(len(rows))] == wanted


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(st.sampled_from('a1,"\n\r\t []\x00\x0b'), max_size=40),
    kind=st.sampled_from(["jsonl", "csv", "tsv", "json"]),
)
def test_records_are_as_many_as_are_counted(text: str, kind: str) -> None:
    """Lines and rows are counted without making an object of each, whatever is wrong with them."""
    set_source(source_of({"a": text, "b": "x"}))
    assert len(records("a", kind)) == sum(1 for _ in records("a", kind))


def test_a_row_that_does_not_fit_is_bad_and_the_next_follows(load: Load) -> None:
    """Tabs too; what a document is, is seen by its name or its beginning."""
    load({"a.tsv": "x\ty\n1\t2\n3\n4\t5\t6\n7\t8\n", "noname": "a,b\n1,2\n", "log": '{"a": 1}\n{"a": 2}\n'})
    found = list(records("a.tsv"))
    assert (found[0], found[3]) == ({"x": "1", "y": "2"}, {"x": "7", "y": "8"})
    assert [bad.line for bad in found[1:3]] == [3, 4]
    assert (records("noname").kind, records("log").kind, list(records("log"))) == ("csv", "jsonl", [{"a": 1}, {"a": 2}])
    assert list(records("log", kind="csv")) != list(records("log"))


def test_a_late_record_is_found_from_the_last_mark_before_it(load: Load) -> None:
    """Every thousandth is remembered; it changes nothing of what is there."""
    for name, text in (
        ("a.jsonl", "".join(f"{number}\n" for number in range(5_000))),
        ("a.json", json.dumps(list(range(5_000)))),
        ("a.csv", "n\n" + "".join(f"{number}\n" for number in range(5_000))),
    ):
        load({"first": "x", name: text})
        found = records(name)
        numbers = [
            record["n"] if isinstance(record, dict) else record for record in (found[4_321], found[4_999], found[0])
        ]
        assert [int(number) for number in numbers] == [4_321, 4_999, 0]
        assert len(found) == 5_000
        with pytest.raises(IndexError, match="there are 5,000"):
            found[5_000]


def test_a_look_says_what_a_text_is(load: Load) -> None:
    """Sizes are exact; kinds of lines, headings and keys are what they are for."""
    load({"a.md": MARKDOWN, "d/b.jsonl": '{"k": 1, "v": 2}\n', "d/c.csv": "id,name\n1,x\n"})
    seen = look("a.md")
    assert (seen.kind, seen.chars, seen.lines, seen.longest_line) == ("markdown", len(MARKDOWN), 39, 12)
    assert ([heading.text for heading in seen.headings], seen.shapes["gamma delta"]) == (
        ["# Title", "## One", "## Two"],
        30,
    )
    assert (look("d/b.jsonl").keys, look("d/c.csv").keys) == (["k", "v"], ["id", "name"])
    whole = look()
    assert (whole.kind, whole.documents, whole.files) == ("documents", 3, {".md": 1, ".jsonl": 1, ".csv": 1})
    assert (whole.head, whole.tail[-5:], whole.sampled) == (MARKDOWN[:400], "\n1,x\n", False)


def test_a_large_text_is_looked_at_in_a_sample_and_that_is_said(load: Load) -> None:
    """Its sizes are exact all the same."""
    load({"a": "INFO job 17 done\n" * 200_000})
    seen = look()
    assert (seen.sampled, seen.lines, seen.chars) == (True, 200_000, 3_400_000)
    assert list(seen.shapes) == ["INFO job 0 done"]
    assert re.search(r"kinds of lines \(of a sample\)", repr(seen))


def test_a_tree_has_the_sizes_of_what_lies_below(load: Load) -> None:
    """Down to a depth."""
    load({"a.txt": "x", "d/b.txt": "xx", "d/e/c.txt": "xxx"})
    assert list(tree()) == [("a.txt", 1, 1), ("d/", 2, 5), ("d/b.txt", 1, 2), ("d/e/", 1, 3)]
    assert list(tree(1)) == [("a.txt", 1, 1), ("d/", 2, 5)]
