"""What a kernel says of its functions and claims is checked field by field, and bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context_wire import CITED_CHARS_MAX, CLAIM_TEXT_CHARS, CLAIMS_STEP_MAX, EXPLORED_MAX, Claim
from rlm_kernel_mcp.kernel.untrusted.exploring import NOTHING, Use, use_of

SHA256 = "0123456789abcdef" * 4
ROW: list[Any] = [3, "context", "a.py", 10, 20, SHA256, "some text"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(SHA256),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.sampled_from(["functions", "claims", "explored", "search", "x"]), inner, max_size=4)
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
    assert isinstance(use_of({"functions": value, "claims": value, "explored": value}), Use)
    assert use_of([value]) == NOTHING
