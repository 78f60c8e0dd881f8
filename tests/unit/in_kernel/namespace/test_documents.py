"""The documents of a context."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.in_kernel.namespace.documents import Documents

TEXT = "alpha" + "" + "βγ" + "delta"
DOCUMENTS = Documents(TEXT, [("a.txt", 5), ("empty.txt", 0), ("b.txt", 2), ("dir/d.txt", 5)])


def test_documents_are_slices_of_the_context_in_its_order() -> None:
    """Contract: one after the other, nothing between them."""
    assert list(DOCUMENTS.items()) == [("a.txt", "alpha"), ("empty.txt", ""), ("b.txt", "βγ"), ("dir/d.txt", "delta")]
    assert "".join(DOCUMENTS.values()) == TEXT
    assert (len(DOCUMENTS), "b.txt" in DOCUMENTS, "c.txt" in DOCUMENTS) == (4, True, False)


def test_offsets_lead_to_documents_and_back() -> None:
    """Ours: every offset of the context lies in exactly one document."""
    for offset, character in enumerate(TEXT):
        name, within = DOCUMENTS.at(offset)
        assert DOCUMENTS[name][within] == character
        assert DOCUMENTS.span(name)[0] + within == offset


@pytest.mark.parametrize("offset", [-1, len(TEXT), 10**9])
def test_an_offset_outside_of_the_context_is_an_error(offset: int) -> None:
    """Ours: no silent wrap to the last document."""
    with pytest.raises(IndexError, match="outside of the 12 characters"):
        DOCUMENTS.at(offset)


def test_a_missing_document_names_the_nearest() -> None:
    """Ours: models misspell paths."""
    with pytest.raises(KeyError, match=r"no document 'Dir/d\.text' among 4; the nearest name is 'dir/d\.txt'"):
        DOCUMENTS["Dir/d.text"]
    with pytest.raises(KeyError, match="the nearest names are 'a2', 'a1'"):
        Documents("ab", [("a1", 1), ("a2", 1)])["a"]
    with pytest.raises(KeyError, match="the first name is 'b'"):
        Documents("b", [("b", 1)])["x"]
    with pytest.raises(KeyError, match="one text without documents"):
        Documents("text", [])["a"]


def test_a_table_that_does_not_fit_the_text_is_refused() -> None:
    """Ours: offsets that lie would be worse than none."""
    with pytest.raises(ValueError, match="5 characters and the context 4"):
        Documents("abcd", [("a", 5)])
    with pytest.raises(ValueError, match="same name"):
        Documents("ab", [("a", 1), ("a", 1)])


def test_documents_describe_themselves_in_a_line() -> None:
    """Ours: a repr that printed every name would cost the model its budget."""
    many = Documents("x" * 9_000, [(f"{number}.txt", 1) for number in range(9_000)])
    assert repr(Documents("a", [("a.txt", 1)])) == "<Documents: 1 document, 1 character, 'a.txt'>"
    assert repr(many) == "<Documents: 9,000 documents, 9,000 characters, '0.txt', '1.txt', '2.txt', …>"


def test_documents_of_a_further_context_stand_behind_the_others_and_lie_in_its_text() -> None:
    """A name that is there already is refused, and nothing has changed."""
    documents = Documents("abc", [("a", 1), ("bc", 2)])
    documents.add("defg", [("more/d", 1), ("more/efg", 3)], "more")
    assert dict(documents) == {"a": "a", "bc": "bc", "more/d": "d", "more/efg": "efg"}
    assert documents.span("more/efg") == (1, 4)
    assert (documents.at(1), documents.at(1, "more")) == (("bc", 0), ("more/efg", 0))
    with pytest.raises(KeyError, match="these have: context, more"):
        documents.at(0, "others")
    with pytest.raises(IndexError, match="of the 4 characters of more"):
        documents.at(4, "more")
    with pytest.raises(ValueError, match="same name"):
        documents.add("x", [("a", 1)], "third")
    assert repr(documents) == "<Documents: 4 documents, 7 characters, 'a', 'bc', 'more/d', …>"
    documents.take_back("more")
    assert list(documents) == ["a", "bc"]
