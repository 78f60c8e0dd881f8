"""Text with lone surrogates, as it comes from a kernel and from the store, however long it is."""

from __future__ import annotations

import asyncio

import pytest

from rlm_kernel_mcp.session.kernels import variables
from rlm_kernel_mcp.text.surrogates import CALL_BYTES, decoded


@pytest.mark.parametrize("character", ["a", "é", "\ud800", "€", "\U0001f600"])
@pytest.mark.parametrize("before", range(5))
def test_no_cut_goes_through_a_character(character: str, before: int) -> None:
    """Every text comes back, whatever stands where one call ends and the next begins."""
    text = "\udfff" + "x" * before + character * (2 * CALL_BYTES // len(character.encode("utf-8", "surrogatepass")))
    assert decoded(text.encode("utf-8", "surrogatepass")) == text


@pytest.mark.parametrize("tail", [b"\xed", b"\xed\xa0", b"\x80", b"\xff", b"\x80" * 9])
def test_what_is_no_such_text_raises(tail: bytes) -> None:
    """Wherever it stands."""
    for data in (tail, b"\xed\xa0\x80" + tail, b"\xed\xa0\x80" + b"x" * CALL_BYTES + tail):
        with pytest.raises(UnicodeDecodeError):
            decoded(data)


def test_others_have_their_turns_while_a_large_answer_is_decoded() -> None:
    """4,000,000 lone surrogates took 0.8 s, in which no session of the server was answered."""

    async def turns_of_others() -> int:
        decoding = asyncio.ensure_future(variables._decoded(text.encode("utf-8", "surrogatepass")))
        turns = 0
        while not decoding.done():
            await asyncio.sleep(0)
            turns += 1
        assert decoding.result() == text
        return turns

    text = "\ud800" * CALL_BYTES
    assert asyncio.run(turns_of_others()) > 2
