"""What a function is called with, and what it gives, is plain JSON, or is said not to be it."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.values import WHOLE_NUMBERS, NotPlain, plain_json, plain_object
from rlm_kernel_mcp.questions_wire import JSON_DEPTH_MAX, JSON_VALUES_MAX

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.text(max_size=60) | st.text(alphabet='[]{}",:0123456789.eE-+ntfNa\\ud8', max_size=60))
def test_any_text_is_plain_json_or_is_not(text: str) -> None:
    """Nothing else is raised; and what is passed on is read by every reader in the same way."""
    try:
        plain = plain_json(text)
    except NotPlain:
        return
    plain.encode()
    assert plain_json(plain) == plain
    json.loads(plain, parse_constant=pytest.fail)


@given(JSON)
def test_a_value_is_passed_on_as_it_is_unless_another_could_not_read_it(value: Any) -> None:
    text = json.dumps(value)
    if is_plain(value):
        assert json.loads(plain_json(text)) == value
    else:
        with pytest.raises(NotPlain):
            plain_json(text)


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(is_plain(one) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return all(map(is_plain, value))
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool) or not isinstance(value, int) or value in WHOLE_NUMBERS


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no JSON"),
        ("{'a': 1}", "is no JSON"),
        ('{"a": 1} {}', "is no JSON"),
        ("NaN", "has NaN, which is not JSON"),
        ('{"a": -Infinity}', "has -Infinity, which is not JSON"),
        ("[1e999]", "has a number that is too large"),
        (str(1 << 64), "has a whole number of more than 64 bits"),
        (str(-(1 << 63) - 1), "has a whole number of more than 64 bits"),
        ("9" * 100_000, "has a whole number of more than 64 bits"),
        (r'"\ud83d"', "has a lone surrogate, which is no character"),
        (r'{"\udc00": 1}', "has a lone surrogate, which is no character"),
        ("[" * 65 + "]" * 65, "is nested more than 64 levels deep"),
        ('{"a":' * 65 + "1" + "}" * 65, "is nested more than 64 levels deep"),
        ("[" * 19_000, "is nested more than 64 levels deep"),
    ],
)
def test_what_is_not_plain_is_said_in_words(text: str, why: str) -> None:
    with pytest.raises(NotPlain) as refused:
        plain_json(text)
    assert str(refused.value) == why


def test_what_is_at_its_bounds_is_plain() -> None:
    """Brackets in a text are no nesting, and of equal keys the last counts."""
    deepest = "[" * JSON_DEPTH_MAX + "]" * JSON_DEPTH_MAX
    assert plain_json(deepest) == deepest
    brackets = json.dumps("[{" * 1_000)
    assert plain_json(brackets) == brackets
    assert plain_json(f"[{(1 << 64) - 1}, {-(1 << 63)}]") == f"[{(1 << 64) - 1},{-(1 << 63)}]"
    assert plain_object('{"a": 1, "a": {"b": "\\u00e9\\ud83d\\ude00"}}') == '{"a":{"b":"é😀"}}'


@pytest.mark.parametrize("text", ["[[],[],", "{'a':", '"', '"\\', "[" + '"a",' * 30_000, '{"a":"' + "[" * 99_999])
def test_a_value_of_very_many_parts_is_not_even_read(text: str) -> None:
    """Each takes time of all sessions; those in texts are no parts, and looking for texts takes as long as they are."""
    many = text * (200_000 // len(text))
    with pytest.raises(NotPlain):
        plain_json(many)
    with pytest.raises(NotPlain, match="more than 20,000 brackets and commas"):
        plain_json("[" + "1," * JSON_VALUES_MAX + "1]")
    commas = json.dumps(["," * 100_000, '"[' * 50_000], separators=(",", ":"))
    assert plain_json(commas) == commas
    assert len(plain_json("[" + "1," * (JSON_VALUES_MAX - 1) + "1]")) == 2 * JSON_VALUES_MAX + 1


@pytest.mark.parametrize("text", ["[]", "1", '"{}"', "null"])
def test_arguments_are_an_object(text: str) -> None:
    with pytest.raises(NotPlain, match="is no JSON object"):
        plain_object(text)
