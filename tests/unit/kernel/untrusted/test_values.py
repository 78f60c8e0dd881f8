"""A JSON value of a kernel, as it is given on: all of it, or its text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlm_kernel_mcp.kernel.untrusted import values


@pytest.mark.parametrize(
    "value",
    [{"\x1b": 1, "\\x1b": 2}, [{"a": [{"\u202e": 1, "\\u202e": 2}]}], {"\ud800": 1, "\\ud800": 2}],
    ids=["control", "below", "surrogate"],
)
def test_keys_that_are_shown_alike_lose_no_item(value: Any) -> None:
    """Each was one item short, without a word: the text tells them apart."""
    whole, shown = values.json_value(json.dumps(value), 4_000)
    assert (whole, json.loads(shown)) == (False, value)
    assert values.json_value(json.dumps(json.loads('{"\\u001b": 1}')), 4_000) == (True, {"\\x1b": 1})


def test_a_value_that_no_answer_could_carry_is_given_as_text() -> None:
    """A forged one of 300 levels was answered by an error of the SDK's own."""
    for text in ("[" * 300 + "]" * 300, '{"a": ' * 300 + "1" + "}" * 300):
        assert values.json_value(text, 4_000) == (False, text)
    deep = "[" * 50 + "]" * 50
    assert values.json_value(deep, 4_000) == (True, json.loads(deep))


def test_a_value_of_more_items_than_can_fit_is_not_even_read() -> None:
    """A kernel of ours sends what fits; to read a million empty lists takes a second that all sessions wait."""
    text = "[" + "[]," * 3_000 + "[]]"
    assert values.json_value(text, 4_000) == (False, text)
    for fits in ("[" * 50 + "]" * 50, json.dumps([[]] * 1_000), json.dumps([0] * 1_333), json.dumps(",[{" * 1_333)):
        assert values.json_value(fits, 4_000) == (True, json.loads(fits))


def test_a_number_beyond_all_would_be_seen_without_its_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it the text is given; the control is without it: a value that no JSON can carry."""
    assert values.json_value("[1e999]", 4_000) == (False, "[1e999]")
    monkeypatch.setattr(values, "_finite", float)
    whole, shown = values.json_value("[1e999]", 4_000)
    assert whole
    with pytest.raises(ValueError, match="JSON"):
        json.dumps(shown, allow_nan=False)
