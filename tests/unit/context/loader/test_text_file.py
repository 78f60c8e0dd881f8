"""A text that is written page by page is what it would be in one piece, to whoever asks about it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.inline import inline_payload, payload_in_file
from rlm_kernel_mcp.context.loader.spool import Spool
from rlm_kernel_mcp.context.loader.text_file import TextFile
from rlm_kernel_mcp.errors import ContextNotFound, ContextTooLarge

AMPLE: Final = Room(decoded_bytes=1 << 30)
LETTERS: Final = st.text(st.sampled_from("a\n\r é\u0101\u20ac\ud800\U0001f600"), max_size=60)


def written(spool: Spool, *parts: str) -> TextFile:
    file = TextFile(spool)
    for part in parts:
        file.add(part.encode("utf-8", "surrogatepass"))
    file.end()
    return file


@given(parts=st.lists(LETTERS, max_size=5))
def test_what_is_known_of_it_does_not_depend_on_its_pages(
    parts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """And is what is known of a text that the client gives."""
    spool, text = Spool(tmp_path_factory.getbasetemp(), 1 << 20), "".join(parts)
    file = written(spool, *parts)
    whole = inline_payload(text, "context", AMPLE)
    with payload_in_file(file, "context", AMPLE) as made:
        for name in ("facts", "sha256", "byte_count", "text_bytes", "documents", "encodings", "kind", "held"):
            assert getattr(made, name) == getattr(whole, name), name
        assert made.descriptor is not None
        assert os.pread(made.descriptor, 1 << 20, 0) == whole.data
    file.release()
    assert spool.used_bytes == 0


def test_a_text_that_is_gone_is_not_loaded_and_one_that_is_read_stays(tmp_path: Path) -> None:
    """Its child may end while a kernel is made ready with it."""
    spool = Spool(tmp_path, 1 << 20)
    file = written(spool, "a text")
    payload = payload_in_file(file, "context", AMPLE)
    file.release()
    assert payload.descriptor is not None
    assert os.pread(payload.descriptor, 100, 0) == b"a text"
    payload.close()
    assert spool.used_bytes == 0
    with pytest.raises(ContextNotFound, match="has ended"):
        payload_in_file(file, "context", AMPLE)


def test_a_text_for_which_there_is_no_room_is_refused(tmp_path: Path) -> None:
    """On disk while it is written, or in the memory of the session that is to have it."""
    spool = Spool(tmp_path, 10)
    file = TextFile(spool)
    with pytest.raises(ContextTooLarge, match="RLM_SPOOL_GB allows 10 bytes"):
        file.add(b"12345678901")
    file.release()
    file = written(spool, "\U0001f600\U0001f600")
    with pytest.raises(ContextTooLarge, match="given by the code of another session"):
        payload_in_file(file, "context", Room(decoded_bytes=31))  # 8 bytes of UTF-8, of characters that take 4 each
    payload_in_file(file, "context", Room(decoded_bytes=32)).close()
    file.release()
    assert spool.used_bytes == 0
