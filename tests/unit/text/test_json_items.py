"""How many items a JSON text has is told without reading it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.text import json_items
from rlm_kernel_mcp.text.json_items import is_crowded

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet=',[{]}\\"ab', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(alphabet=',[{"a', max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


def items_of(value: object) -> int:
    """Commas and opening brackets of its JSON, outside of its texts."""
    if not isinstance(value, list | dict):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(0, len(value) - 1) + sum(map(items_of, inner))


@given(VALUES, st.sampled_from([1, 2, 3, 5, json_items.WINDOW_BYTES]))
def test_what_stands_in_texts_is_no_item(value: object, window: int) -> None:
    """Whatever that is: quotes, backslashes, brackets and commas; and wherever it is looked at in pieces."""
    text, count = json.dumps(value).encode(), items_of(value)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_items, "WINDOW_BYTES", window)
        assert not is_crowded(text, count)
        assert not count or is_crowded(text, count - 1)


@pytest.mark.parametrize("text", [b"", b",", b'"', b'"\\', b"[,{" * 3, b'",[{'])
def test_what_is_no_json_is_counted_too(text: bytes) -> None:
    """A text that does not end goes to the end."""
    assert is_crowded(text, 2) == (text == b"[,{" * 3)
