"""The names of a fresh session, and what is said of them."""

from __future__ import annotations

import json
import pydoc
from typing import Any, Final

import pytest

from rlm_kernel_mcp.context_wire import EXPLORING
from rlm_kernel_mcp.in_kernel.namespace.offered import (
    FUNCTIONS,
    OFFERED,
    Loaded,
    bind,
    is_taken,
    lines,
    unbind_context,
)
from rlm_kernel_mcp.kernel.untrusted.answers import offered_names
from rlm_kernel_mcp.questions_wire import ASKING, CALLING
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


def test_a_text_keeps_its_name_though_a_function_has_it_too() -> None:
    """A session of before there were such functions is brought back with it."""
    names: dict[str, Any] = {}
    bind(names, Loaded(TEXT, LOADED.documents, "/scratch", "budget"))
    assert names["budget"] is TEXT
    assert names["forecast"] is FUNCTIONS["forecast"][0]


def test_a_further_context_takes_the_name_of_a_function_that_asks_and_of_nothing_else() -> None:
    """It has the name where nobody answers: the host would not have let it, else."""
    names: dict[str, Any] = {"own": 1}
    bind(names, LOADED)
    assert [is_taken(names, name) for name in ("budget", "new", "own", "search", "context")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    names["budget"] = "bound by a step"
    assert is_taken(names, "budget")


def test_without_its_context_a_session_has_the_names_that_say_nothing_of_it() -> None:
    """An empty text in its place would be a lie."""
    names: dict[str, Any] = {"own": 1}
    bind(names, LOADED)
    assert unbind_context(names, "context") == ["context", "documents"]
    functions = {name: function for name, (function, _) in FUNCTIONS.items()}
    assert names == {"own": 1, "scratch": "/scratch", **functions}


@pytest.mark.parametrize("wall", [QUOTA, READ_ONLY])
def test_the_host_takes_every_name_and_line_that_is_offered(wall: WallRow) -> None:
    """Its bounds are an adversary's; what we offer ourselves lies within them."""
    said = lines([wall])
    assert offered_names({"names": said}) == said
    assert said.keys() == OFFERED.keys()
    assert (READ_ONLY_SCRATCH in said["scratch"]) == (wall is READ_ONLY)


def test_the_host_knows_the_functions_that_are_in_every_kernel() -> None:
    """They are reserved, and told as neither lost nor restored."""
    assert tuple(FUNCTIONS) == (*EXPLORING, *ASKING, *CALLING)


@pytest.mark.parametrize("wall", [QUOTA, READ_ONLY])
def test_the_names_and_their_lines_take_little_of_a_model_s_window(wall: WallRow) -> None:
    """`namespace` of rlm_init_context, as JSON; the names that ask stand there only where somebody answers."""
    told = lines([wall])
    asking, calling = ({name: told.pop(name) for name in names} for names in (ASKING, CALLING))
    assert len(json.dumps(told, separators=(",", ":"))) <= 1_100
    assert len(json.dumps(asking, separators=(",", ":"))) <= 650
    assert len(json.dumps(calling, separators=(",", ":"))) <= 300


@pytest.mark.parametrize("name", [*EXPLORING, "llm_query", "llm_query_batched", "host_call"])
def test_help_has_what_the_line_leaves_out(name: str) -> None:
    """The arguments of each function, and what it gives."""
    text = pydoc.plain(pydoc.render_doc(FUNCTIONS[name][0]))
    assert len(text) > 2 * len(FUNCTIONS[name][1])
