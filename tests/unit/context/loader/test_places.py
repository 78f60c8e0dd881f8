"""Places in documents are the same whether a loader has counted them or nobody has, and are those of the plain text."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.context.loader import places as places_module
from rlm_kernel_mcp.context.loader.index import Changed, ReadAt, TextIndex, count_document
from rlm_kernel_mcp.context.loader.places import Place, Places
from rlm_kernel_mcp.context_wire import BLOCK_BYTES, DocumentRow
from tests.unit.context.loader.test_index import counted

PIECES: Final = ["a", "\n", "\r\n", "\0", "ü", "日", "😀", "\udc80", "\ud83d", "f" * 999 + "\n"]


def reading(raw: bytes) -> ReadAt:
    return lambda offset, size: raw[offset : offset + size]


def of_one(raw: bytes, encoding: str = "utf-8", errors: str = "strict") -> Places:
    """One document that nobody has counted."""
    return Places([(("a.txt", len(raw), encoding, errors), "/d/a.txt")], None, "/d/", 0)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), max_size=20), st.integers(0, 9), st.lists(st.sampled_from(PIECES), max_size=9))
def test_an_inline_text_has_places_too(before: list[str], by: int, behind: list[str]) -> None:
    """Lone surrogates lie in it as three bytes each, also across a block's border."""
    text = "".join(before)
    text += "f" * max(0, BLOCK_BYTES - by - len(text.encode("utf-8", "surrogatepass"))) + "".join(behind)
    raw = text.encode("utf-8", "surrogatepass")
    places, read = of_one(raw, errors="surrogatepass"), reading(raw)
    near = {0, len(text), *range(max(0, len(text) - 40), len(text))} | {n for n in range(12) if n <= len(text)}
    for char in sorted(near):
        byte = len(text[:char].encode("utf-8", "surrogatepass"))
        place = Place(byte, char, text.count("\n", 0, char) + 1)
        assert places.in_block(0, char, read).at_char(char) == place
        assert places.in_block_of_byte(0, byte, read).at_byte(byte) == place


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_what_is_counted_later_is_what_a_loader_counts(encoding: str) -> None:
    """Row by row, of several blocks."""
    raw = ("Größe und Maß, 12345\r\n" * 12_000).encode(encoding) + (b"\xd8" if encoding != "latin-1" else b"")
    index = counted(raw)
    one = index.document(0)
    again, rows = count_document(len(raw), one.encoding, one.errors, reading(raw))
    assert again == one
    by_loader = Places([(("a.txt", len(raw), one.encoding, one.errors), "")], index, "", 0)
    by_host = of_one(raw, one.encoding, one.errors)
    assert TextIndex([again], rows).char_counts == index.char_counts
    for byte in (0, 1, 65_535, 65_536, 65_537, 131_072, len(raw) - 1, len(raw)):
        assert by_loader.in_block_of_byte(0, byte, reading(raw)).at_byte(byte) == by_host.in_block_of_byte(
            0, byte, reading(raw)
        ).at_byte(byte)


def test_documents_go_by_name_and_have_the_path_that_they_came_from() -> None:
    """One name is not another's end; a link leads elsewhere; what was put before the names is no directory."""
    names = ["logs/a.txt", "logs/a.txt.old", "logs/b/a.txt", "logs/\udcff"]
    rows: list[DocumentRow] = [(name, 3, "utf-8", "strict") for name in names]
    paths = ["/d/a.txt", "/elsewhere/old", "/d/b/a.txt", "/d/\udcff"]
    places = Places(zip(rows, paths, strict=True), None, "/d/", len("logs/"))
    assert [places.number(name) for name in names] == [0, 1, 2, 3]
    assert [places.path_of(*row) for row in enumerate(names)] == paths
    assert (len(places), len(places._paths)) == (4, 1)
    for missing in ("", "a.txt", "logs/a", "logs/b", "/d/a.txt"):
        with pytest.raises(KeyError):
            places.number(missing)


def test_changed_bytes_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer, or such as do not decode as they did; a place that never was is an error of another kind."""
    raw = "Größe\n".encode() * 50_000
    places = of_one(raw)
    with pytest.raises(Changed):
        places.in_block_of_byte(0, 10, reading(raw[:-1])).at_byte(10)
    with pytest.raises(Changed):
        places.in_block_of_byte(0, 10, reading(b"\xff" * len(raw))).at_byte(10)
    with pytest.raises(IndexError):
        places.in_block(0, 300_001, reading(raw))
    assert places.in_block(0, 300_000, reading(raw)).at_char(300_000) == Place(len(raw), 300_000, 50_001)
    with pytest.raises(Changed):
        places.in_block(0, 250_000, reading(raw[: len(raw) // 2])).at_char(250_000)
    monkeypatch.setattr(places_module, "COUNTED_MAX", 2)
    many = Places([((str(n), 4, "utf-8", "strict"), "") for n in range(9)], None, "", 0)
    for number in range(9):
        assert many.in_block_of_byte(number, 2, reading(b"a\nb\n")).at_byte(2) == Place(2, 2, 2)
    assert len(many._counted) == 2
