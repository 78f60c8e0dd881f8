"""What a kernel says of its functions and claims is checked field by field, and bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context_wire import (
    CITED_CHARS_MAX,
    CLAIM_TEXT_CHARS,
    CLAIMS_STEP_MAX,
    EXPLORED_MAX,
    RUNS_MAX,
    SHOWN_MAX,
    Claim,
)
from rlm_kernel_mcp.kernel.untrusted.exploring import NOTHING, PASSES_MAX, Use, use_of

SHA256 = "0123456789abcdef" * 4
ROW: list[Any] = [3, "context", "a.py", 10, 20, SHA256, "some text"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(SHA256),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(
            st.sampled_from(["functions", "claims", "explored", "passes", "shown", "search", "x"]), inner, max_size=4
        )
    ),
    max_leaves=30,
)


def test_what_is_said_as_it_should_be_is_passed_on() -> None:
    """Of the functions those that we have, and that were called."""
    said = {"functions": {"search": 2, "cite": 1, "look": 0}, "claims": [ROW], "explored": [["context", 7, 0]]}
    assert use_of(said) == Use({"search": 2, "cite": 1}, (Claim(*ROW),), (("context", 7, 0),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 0),
        (0, True),
        (0, 10**9),
        (0, "3"),
        (1, "n" * 201),
        (1, None),
        (2, "d" * 4_097),
        (3, -1),
        (3, 20),
        (4, 10 + CITED_CHARS_MAX + 1),
        (4, 1e3),
        (5, SHA256.upper()),
        (5, SHA256 + "\n"),
        (6, ["text"]),
    ],
)
def test_a_claim_that_is_none_is_left_out(place: int, value: object) -> None:
    """And those beside it are not."""
    bad = [*ROW]
    bad[place] = value
    assert use_of({"claims": [bad, ROW, ROW[:6], {}, None]}).claims == (Claim(*ROW),)


def test_there_is_a_most_of_everything() -> None:
    """Whatever a kernel sends."""
    many = {
        "functions": dict.fromkeys(("search", *(f"f{number}" for number in range(5_000))), 1),
        "claims": [[*ROW[:6], "x" * 10_000]] * 5_000,
        "explored": [["context", 1, 1]] * 5_000,
    }
    use = use_of(many)
    assert (dict(use.functions), len(use.claims), len(use.explored)) == ({"search": 1}, CLAIMS_STEP_MAX, EXPLORED_MAX)
    assert {len(claim.text) for claim in use.claims} == {CLAIM_TEXT_CHARS}


@given(JSON)
def test_nothing_that_json_can_say_is_an_error(value: object) -> None:
    """It is left out."""
    assert isinstance(use_of(value), Use)
    fields = ("functions", "claims", "explored", "passes", "shown")
    assert isinstance(use_of(dict.fromkeys(fields, value)), Use)
    assert isinstance(use_of({"passes": {"context": value}}), Use)
    assert use_of([value]) == NOTHING


def test_what_was_gone_over_is_passed_on_in_order() -> None:
    """As often as is counted at most."""
    passes = {"context": [[0, 5, 1], [5, 9, 300], [12, 10**9, 2]], "more": [[3, 4, 1]]}
    assert use_of({"passes": passes}).passes == {
        "context": ((0, 5, 1), (5, 9, PASSES_MAX), (12, 10**9, 2)),
        "more": ((3, 4, 1),),
    }


@pytest.mark.parametrize(
    "row",
    [
        [4, 9, 1],  # it overlaps
        [9, 9, 1],
        [9, 8, 1],
        [-1, 9, 1],
        [6, 2**53, 1],
        [6, 9, 0],
        [6, 9, -1],
        [6, 9, True],
        [6.0, 9, 1],
        [6, float("inf"), 1],
        [6, float("nan"), 1],
        ["6", 9, 1],
        [6, 9],
        [6, 9, 1, 1],
        {"start": 6},
        None,
    ],
    ids=repr,
)
def test_from_a_stretch_on_that_is_none_nothing_is_believed(row: object) -> None:
    """Where one ends decides where the next may begin."""
    assert use_of({"passes": {"context": [[0, 5, 1], row, [20, 30, 1]]}}).passes == {"context": ((0, 5, 1),)}


def test_there_is_a_most_of_stretches_and_places() -> None:
    """Of all contexts together, and of their names."""
    many = [[2 * number, 2 * number + 1, 1] for number in range(1_000_000)]
    assert len(use_of({"passes": {"context": many}}).passes["context"]) == RUNS_MAX
    assert sum(map(len, use_of({"passes": {"a": many[:1_000], "b": many, "c": many}}).passes.values())) == RUNS_MAX
    names = {f"c{number}": [[0, 1, 1]] for number in range(100_000)}
    assert len(use_of({"passes": {"n" * 1_000_000: [[0, 1, 1]], **names}}).passes) == EXPLORED_MAX - 1
    assert len(use_of({"shown": [["context", "a.py", 1, 2]] * 1_000_000}).shown) == SHOWN_MAX


@pytest.mark.parametrize(
    "row",
    [
        ["n" * 201, "a.py", 1, 2],
        ["context", "d" * 4_097, 1, 2],
        ["context", None, 1, 2],
        [["context"], "a.py", 1, 2],
        ["context", "a.py", 2, 2],
        ["context", "a.py", -1, 2],
        ["context", "a.py", 1, 2 + CITED_CHARS_MAX],
        ["context", "a.py", 1.5, 2],
        ["context", "a.py", 1, float("nan")],
        ["context", "a.py", 1],
        "context",
        None,
    ],
)
def test_a_place_that_is_none_is_left_out(row: object) -> None:
    """And those beside it are not."""
    good = ["context", "a.py", 1, 2]
    assert use_of({"shown": [row, good]}).shown == (("context", "a.py", 1, 2),)
