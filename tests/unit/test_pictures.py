"""The pictures of the state machines in `docs/design.md` are what the tables say."""

from __future__ import annotations

from typing import Any, Final

import pytest

from rlm_kernel_mcp.session.snapshots.states import RESTORING, TAKING
from rlm_kernel_mcp.session.states.lifecycle import KERNEL, LIFE, LIMIT, STEP
from tests.parts import ROOT
from tests.pictures import picture

TABLES: Final[dict[str, Any]] = {
    "a session's life": LIFE,
    "a session's step": STEP,
    "a session's limit": LIMIT,
    "a session's kernel": KERNEL,
    "a snapshot": TAKING,
    "the way back": RESTORING,
}


@pytest.mark.parametrize("what", TABLES)
def test_the_picture_of_a_machine_is_its_table(what: str) -> None:
    """Edge by edge; what is to stand there is in the failure's text."""
    drawn = picture(TABLES[what])
    assert drawn in (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), f"docs/design.md lacks\n{drawn}"
