"""`rank`: the parts of the texts that are most relevant to some words, by BM25.

Is: an in-memory index of SQLite's fts5 that holds words but not the text, made once for chunks that are cut alike.
Is not: a search for a place (`searching.py`), nor for a meaning. Above: `in_kernel/namespace/`. Below: `chunks.py`.
"""

from __future__ import annotations

import re
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final

from rlm_kernel_mcp.in_kernel.explore.chunks import Chunks, chunked
from rlm_kernel_mcp.in_kernel.explore.hits import Hits, Places
from rlm_kernel_mcp.in_kernel.explore.usage import used, went_over

CHARS_MAX: Final = 256 << 20
"""Characters that are indexed; the index takes about half as many bytes of memory."""
INDEXES_KEPT: Final = 2
CHUNK_CHARS: Final = 8_000
WORDS_MAX: Final = 64

_indexes: OrderedDict[tuple[Any, ...], tuple[Chunks, sqlite3.Connection]] = OrderedDict()
"""The newest ones, by `Chunks.key`. The chunks are kept with the index: the key has ids, which must not be reused."""


def rank(query: str, k: int = 10, over: object = None) -> Hits:
    """The k chunks most relevant to the words of a query, best first (BM25, any of the words, no stemming).

    Args:
        query: words; punctuation between them is ignored.
        k: how many at most.
        over: chunks (`chunks(2000, by="paragraphs")`), or docs as in `search`, in chunks of 8,000 characters; all by
            default. "documents": whole documents.

    Returns:
        Hits, each a whole chunk, with a `score`. The index is built by the first call, and kept.
    """
    used("rank")
    words = re.findall(r"\w+", query)[:WORDS_MAX]
    if not words:
        raise ValueError(f"there are no words in {query[:100]!r}")
    cut = _cut(over)
    index = _index(cut)
    for part in cut.parts:
        went_over("ranked", part.source.name, part.start, part.end)
    # Quoted, so that no word is taken for one of fts5's operators (AND, NOT, NEAR).
    question = " OR ".join(f'"{word}"' for word in words)
    rows = index.execute(
        # fts5's rank is negative, the best first; `rowid` makes the order of equals certain.
        "SELECT rowid, rank FROM part WHERE part MATCH ? ORDER BY rank, rowid LIMIT ?",
        (question, max(0, k)),
    ).fetchall()
    found = [cut[row] for row, _ in rows]
    places = [Places(chunk._source, [chunk.start], [chunk.end]) for chunk in found]
    hits = Hits(repr(query), places, "fts5")
    hits.use_scores([-score for _, score in rows])
    return hits


def _cut(over: object) -> Chunks:
    if isinstance(over, Chunks):
        return over
    if over == "documents":
        return chunked(CHUNK_CHARS, "documents", 0, None)
    return chunked(CHUNK_CHARS, "lines", 0, over)


def _index(cut: Chunks) -> sqlite3.Connection:
    key = cut.key
    if key in _indexes:
        _indexes.move_to_end(key)
        return _indexes[key][1]
    total = sum(part.end - part.start for part in cut.parts)
    if total > CHARS_MAX:
        raise ValueError(
            f"rank() indexes at most {CHARS_MAX:,} characters, and these are {total:,}: name some docs in `over`, or "
            "use search() and count()"
        )
    index = sqlite3.connect(":memory:", check_same_thread=False)
    # `content=''`: contentless, so that the text, which the kernel has anyway, is not stored again.
    index.execute("CREATE VIRTUAL TABLE part USING fts5(text, content='', tokenize='unicode61', columnsize=1)")
    with index:
        index.executemany("INSERT INTO part(rowid, text) VALUES (?, ?)", _rows(cut))
    _indexes[key] = cut, index
    while len(_indexes) > INDEXES_KEPT:
        _indexes.popitem(last=False)[1][1].close()
    return index


def _rows(cut: Chunks) -> Iterator[tuple[int, str]]:
    for number, chunk in enumerate(cut):
        # SQLite accepts no lone surrogates, and its texts end at a NUL.
        yield number, chunk._text.encode("utf-8", "replace").decode().replace("\0", " ")
