"""Documents laid together are their bytes one after the other, whichever of them are taken back, and when."""

from __future__ import annotations

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context import copies
from rlm_kernel_mcp.context.copies import Concatenation
from rlm_kernel_mcp.context.loader.spool import unlinked_file

BLOCKS = st.lists(st.sampled_from([b"a", b"line\n", b"0123456789", b"\n\n", b"no end"]), max_size=6)


@given(documents=st.lists(st.tuples(BLOCKS, st.booleans()), max_size=8), held_bytes=st.integers(1, 40))
def test_the_file_has_what_was_not_taken_back(documents: list[tuple[list[bytes], bool]], held_bytes: int) -> None:
    """Also where a part of a document was written before it was known to be none."""
    writer, reader = unlinked_file()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(copies, "BATCH_BYTES", held_bytes)
            laid = Concatenation(writer)
            for blocks, is_kept in documents:
                laid.begin()
                for block in blocks:
                    laid.append(block)
                if not is_kept:
                    laid.discard_document()
            expected = b"".join(b"".join(blocks) for blocks, is_kept in documents if is_kept)
            assert laid.byte_count == len(expected)
            assert laid.sha256() == hashlib.sha256(expected).hexdigest()
            assert laid.line_count() == len(expected.splitlines())
            assert os.pread(reader, 1 << 16, 0) == expected
    finally:
        os.close(writer)
        os.close(reader)
