"""A kernel's long text is read by someone who trusts no byte of it, and holds no more than a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.snapshot_stream import StreamBroken
from rlm_kernel_mcp.kernel.untrusted.text_stream import PAGE_BYTES, TextDecoder, TextPage

FAR = 1_000_000
CHARACTERS = st.sampled_from("a\0é€😀\ud800\udfff\n")
"""Of each width in UTF-8, lone surrogates too."""


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def pages_of(blocks: list[bytes], chars_max: int = FAR, page_bytes: int = PAGE_BYTES) -> list[TextPage]:
    """All pages of a stream."""
    decoder = TextDecoder(chars_max, page_bytes)
    return [page for block in blocks for page in decoder.feed(block)] + decoder.end()


@given(st.text(CHARACTERS, max_size=200), st.lists(st.integers(0, 40), max_size=40), st.integers(4, 30))
def test_however_a_text_is_cut_into_blocks_its_pages_are_the_same(text: str, sizes: list[int], page_bytes: int) -> None:
    """Each ends with a character and says how many it has; together they are the text."""
    data, blocks, at = utf8(text), list[bytes](), 0
    for size in sizes:
        blocks.append(data[at : at + size])
        at += size
    pages = pages_of([*blocks, data[at:]], page_bytes=page_bytes)
    assert pages == pages_of([data], page_bytes=page_bytes)
    assert b"".join(page.data for page in pages) == data
    assert [page.data.decode("utf-8", "surrogatepass") for page in pages] == _parts(text, [p.chars for p in pages])
    assert all(page_bytes - 3 <= len(page.data) <= page_bytes for page in pages[:-1])


def _parts(text: str, sizes: list[int]) -> list[str]:
    parts, at = [], 0
    for size in sizes:
        parts.append(text[at : at + size])
        at += size
    assert at == len(text)
    return parts


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"a\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xed\xa0"],
    ids=["no byte of it", "2 of it", "3 of it", "4 of it", "alone", "overlong", "beyond Unicode", "half a half"],
)
@pytest.mark.parametrize("before", [0, 1, 3, 60])
def test_what_is_no_utf_8_is_no_text(data: bytes, before: int) -> None:
    """Wherever it stands: also a character that the end of the stream cuts off."""
    with pytest.raises(StreamBroken, match="not valid UTF-8"):
        pages_of([b"x" * before + data], page_bytes=16)


@pytest.mark.parametrize("character", ["a", "\U0001f600", "\ud800"])
def test_a_text_has_no_more_characters_than_it_may(character: str) -> None:
    """Characters are counted, not bytes; one more ends it, long before the stream does."""
    assert sum(page.chars for page in pages_of([utf8(character * 100)], 100, 16)) == 100
    decoder, fed = TextDecoder(100, 16), list[int]()

    def endless() -> None:
        while True:
            fed.append(8)
            decoder.feed(utf8(character * 8))

    with pytest.raises(StreamBroken, match="more than 100 characters"):
        endless()
    assert sum(fed) < 130


def test_continuations_without_end_are_given_up_at_the_first_page() -> None:
    """There is no character that they could belong to."""
    decoder = TextDecoder(FAR, 64)
    decoder.feed(b"\x80" * 64)
    with pytest.raises(StreamBroken):
        decoder.feed(b"\x80")


def test_an_empty_text_has_no_page() -> None:
    """It is a text all the same."""
    assert pages_of([]) == []
