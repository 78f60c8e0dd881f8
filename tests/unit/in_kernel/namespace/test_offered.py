"""The names of a fresh session, and what is said of them."""

from __future__ import annotations

from typing import Any, Final

import pytest

from rlm_kernel_mcp.in_kernel.namespace.offered import OFFERED, Loaded, bind, lines, unbind_context
from rlm_kernel_mcp.kernel.untrusted.answers import offered_names
from rlm_kernel_mcp.wire import READ_ONLY_SCRATCH, WallRow

TEXT: Final = "alpha" + "βγδεζηθ"
LOADED: Final = Loaded(TEXT, [("a", 5), ("b", 7)], "/scratch")
QUOTA: Final[WallRow] = {"name": "scratch_quota", "holds": True, "detail": "64 MB"}
READ_ONLY: Final[WallRow] = {"name": "scratch_quota", "holds": True, "detail": f"0 MB: {READ_ONLY_SCRATCH}"}


def test_a_fresh_namespace_has_the_names_that_the_client_is_told_of() -> None:
    """Contract: `namespace` of rlm_init_context."""
    names: dict[str, Any] = {}
    bind(names, LOADED)
    assert list(names) == list(lines([QUOTA]))
    assert names["context"] is TEXT
    assert names["documents"]["b"] == TEXT[5:]
    assert names["scratch"] == "/scratch"


def test_without_its_context_a_session_has_the_names_that_say_nothing_of_it() -> None:
    """An empty text in its place would be a lie."""
    names: dict[str, Any] = {"own": 1}
    bind(names, LOADED)
    assert unbind_context(names, "context") == ["context", "documents"]
    assert names == {"own": 1, "scratch": "/scratch"}


@pytest.mark.parametrize("wall", [QUOTA, READ_ONLY])
def test_the_host_takes_every_name_and_line_that_is_offered(wall: WallRow) -> None:
    """Its bounds are an adversary's; what we offer ourselves lies within them."""
    said = lines([wall])
    assert offered_names({"names": said}) == said
    assert said.keys() == OFFERED.keys()
    assert (READ_ONLY_SCRATCH in said["scratch"]) == (wall is READ_ONLY)
