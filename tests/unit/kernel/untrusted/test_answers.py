"""Whatever a kernel answers to our own requests, the host has the types of `wire.py` of it, bounded."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context_wire import LoadContextReply
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.untrusted.answers import (
    CELLS_MAX,
    CODE_CHARS_MAX,
    EDGE_CHARS_MAX,
    EVALUE_CHARS_MAX,
    IMPORTS_MAX,
    NAMES_MAX,
    failure_of,
    history_cells,
    imports_of,
    loaded_context,
    restored_names,
    variable_of,
    variables_in,
    without_context,
)
from rlm_kernel_mcp.kernel.untrusted.fields import COUNT_MAX, NAME_CHARS_MAX
from rlm_kernel_mcp.kernel.untrusted.messages import BadMessage, parse_json
from rlm_kernel_mcp.wire import (
    DOCUMENTS_LISTED,
    OFFERED_LINE_CHARS_MAX,
    OFFERED_MAX,
    OFFERED_NAME_CHARS_MAX,
    GetVarReply,
)

VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("x" * 10_000),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.just([1] * (IMPORTS_MAX + 1)),
    max_leaves=3,
)
NAMES: Final = st.sampled_from(["a", "context", "a b", "", "1a", "x" * 65, "ä", "\x1b"])
LINES: Final = st.sampled_from(["a line", "", "two\nlines", "\x1b[31m", "\u202e", "x" * 401, "x" * 400]) | st.none()
KEYS: Final = sorted({*GetVarReply.__annotations__, *LoadContextReply.__annotations__, "imports", "names", "evalue"})
CONTENTS: Final = st.dictionaries(st.sampled_from(KEYS), VALUES) | st.fixed_dictionaries(
    {
        "chars": st.integers(),
        "lines": st.integers(),
        "documents": st.lists(VALUES),
        "names": st.dictionaries(NAMES, LINES),
    }
)


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < COUNT_MAX


def is_text(value: object, limit: int) -> bool:
    return type(value) is str and len(value) <= limit


def is_offered(names: object) -> bool:
    """Whether names and lines are fit to be shown."""
    return isinstance(names, dict) and all(
        name in ("a", "context")
        and isinstance(line, str)
        and line.isprintable()
        and len(line) <= OFFERED_LINE_CHARS_MAX
        for name, line in names.items()
    )


@given(CONTENTS)
def test_a_variable_is_one_whatever_is_said_of_it(content: dict[str, Any]) -> None:
    said = variable_of(content)
    assert said.keys() == GetVarReply.__annotations__.keys()
    assert is_text(said["name"], NAME_CHARS_MAX)
    assert is_text(said["type"], NAME_CHARS_MAX)
    assert {type(said["json"]), type(said["whole"]), type(said["own"])} == {bool}
    assert is_count(said["total_chars"])
    assert said["size"] is None or is_count(said["size"])


@given(CONTENTS)
def test_a_context_is_loaded_in_bounded_words_or_the_kernel_is_given_up(content: dict[str, Any]) -> None:
    counts = is_count(content.get("chars")) and is_count(content.get("lines"))
    if not (counts and isinstance(content.get("documents"), list) and is_offered(content.get("names"))):
        with pytest.raises(KernelDied):
            loaded_context(content)
        return
    said = loaded_context(content)
    assert said.keys() == LoadContextReply.__annotations__.keys()
    assert is_count(said["chars"])
    assert is_count(said["lines"])
    assert len(said["documents"]) <= DOCUMENTS_LISTED
    assert all(map(is_count, said["documents"]))
    assert is_text(said["head"], EDGE_CHARS_MAX)
    assert is_text(said["tail"], EDGE_CHARS_MAX)


@given(CONTENTS)
def test_names_and_reasons_are_texts_of_bounded_length(content: dict[str, Any]) -> None:
    assert len(imports_of(content)) <= IMPORTS_MAX
    assert all(is_text(name, NAME_CHARS_MAX) for name in imports_of(content))
    assert all(is_text(words, EVALUE_CHARS_MAX) for words in failure_of(content))
    assert all(type(name) is str for name in restored_names(content))


def is_readable(data: bytes) -> bool:
    """Whether it is not refused as a whole, as what has too many items is."""
    try:
        parse_json(data)
    except BadMessage:
        return False
    return True


@given(CONTENTS, st.lists(VALUES | st.just([1, 2, "code"]) | st.just(["x", "int", 5])))
def test_rows_are_rows_whatever_stands_between_them(content: dict[str, Any], rows: list[Any]) -> None:
    cells = history_cells({**content, "history": rows})
    assert cells.count((2, "code")) >= rows.count([1, 2, "code"])
    assert all(type(count) is int and is_text(code, CODE_CHARS_MAX) for count, code in cells)
    sent = json.dumps(rows).encode()
    variables = variables_in([sent])
    assert variables.count(("x", "int", 5)) >= (rows.count(["x", "int", 5]) if is_readable(sent) else 0)
    assert all(is_text(name, NAME_CHARS_MAX) and is_text(kind, NAME_CHARS_MAX) for name, kind, _ in variables)
    assert history_cells(content) == []


def test_of_many_rows_the_first_names_and_the_newest_cells_are_read() -> None:
    """A kernel's message has room for many more."""
    cells = history_cells({"history": [[1, count, "x"] for count in range(CELLS_MAX + 1)]})
    assert [count for count, _ in cells] == list(range(1, CELLS_MAX + 1))
    assert history_cells({"history": [[1, 1, "x" * (CODE_CHARS_MAX + 1)]]}) == [(1, "x" * CODE_CHARS_MAX)]
    names = variables_in([json.dumps([[f"x{count}", "int", 1] for count in range(NAMES_MAX + 1)]).encode()])
    assert [name for name, _, _ in names] == [f"x{count}" for count in range(NAMES_MAX)]
    assert (variables_in([]), variables_in([b"{"]), variables_in([b"5"])) == ([], [], [])


def test_what_a_well_behaved_kernel_says_comes_through_as_it_is() -> None:
    """The control: the checks take nothing away from it."""
    loaded: LoadContextReply = {
        "status": "ok", "chars": 3, "lines": 1, "documents": [1, 2], "head": "abc", "tail": "abc",
        "names": {"context": "the text"},
    }  # fmt: skip
    variable: GetVarReply = {
        "status": "ok", "name": "x", "type": "list", "size": 2, "json": False, "total_chars": 9, "whole": False,
        "own": False,
    }  # fmt: skip
    assert loaded_context(loaded) == loaded
    assert variable_of(variable) == variable
    assert imports_of({"imports": ["math", "re"]}) == ("math", "re")
    assert restored_names({"names": {"a": None}}) == {"a": None}
    with pytest.raises(KernelDied):
        loaded_context({"status": "ok"})


@pytest.mark.parametrize(
    "names",
    [
        None,
        [],
        {"a b": "x"},
        {"": "x"},
        {"a": 1},
        {"a": "two\nlines"},
        {"a": "\x1b[31m"},
        {"a": "\u202e"},
        {"ä": "x"},
        {"a": "x" * (OFFERED_LINE_CHARS_MAX + 1)},
        {"a" * (OFFERED_NAME_CHARS_MAX + 1): "x"},
        {f"a{number}": "x" for number in range(OFFERED_MAX + 1)},
    ],
)
def test_names_that_no_kernel_of_ours_offers_are_not_shown(names: object) -> None:
    """Whether a context was loaded or could not be had again."""
    with pytest.raises(KernelDied):
        without_context({"status": "ok", "names": names, "unbound": []})
    with pytest.raises(KernelDied):
        loaded_context({"chars": 1, "lines": 1, "documents": [], "names": names})


@pytest.mark.parametrize("unbound", [None, 5, ["context", "other", [], "context"], {"context": 1}])
def test_only_names_that_are_offered_can_be_missing(unbound: object) -> None:
    said = without_context({"names": {"context": "the text", "scratch": "a path"}, "unbound": unbound})
    assert said["unbound"] == (["context"] if isinstance(unbound, list) else [])
