"""`session/opening.py`: what of a context is refused before a kernel is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlm_kernel_mcp.errors import ContextTooLarge
from rlm_kernel_mcp.session.opening import ContextSource
from rlm_kernel_mcp.settings import load_settings


def test_more_documents_than_the_memory_has_room_for_are_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little text they hold: a kernel needs a name and a place for each."""
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("x")
    variables = {"RLM_CONTEXT_ROOTS": str(tmp_path), "RLM_STATE_DIR": str(tmp_path), "RLM_MEMORY_LIMIT_MB": "64"}
    settings = load_settings(variables)
    source = ContextSource(paths=(str(tmp_path),))
    with source.open(settings) as payload:
        assert len(payload.documents) == 30
    monkeypatch.setattr("rlm_kernel_mcp.session.opening.DOCUMENT_BYTES", 500_000)
    with pytest.raises(ContextTooLarge) as refused:
        source.open(settings)
    assert "30 documents, whose table takes about 15,000,1" in refused.value.message
    assert "the limit is 13,421,772 bytes" in refused.value.message
