"""Every report comes out at the other end as it went in."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_kernel_mcp.doors.wire.messages import LARGE_CHARS
from rlm_kernel_mcp.doors.wire.values import HIDDEN, codec
from rlm_kernel_mcp.session.context_reports import LoadingReport
from rlm_kernel_mcp.session.contexts.given import Added
from rlm_kernel_mcp.session.reports import FinalReport, Opened, StepReport, VariableSlice
from rlm_kernel_mcp.session.trace.reports import TraceEvent

LONE = "\ud83d\ude00 \udc80"
"""Two surrogates side by side are two characters, and JSON with escapes would make one of them."""
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from([LONE, "x" * (LARGE_CHARS + 1), LONE * LARGE_CHARS])


def over(kind: Any, value: Any) -> Any:
    """The value at the other end."""
    texts = list[str]()
    head = json.dumps(codec(kind).write(value, texts), ensure_ascii=False).encode("utf-8", "surrogatepass")
    travelled = [text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass") for text in texts]
    return codec(kind).read(json.loads(head.decode("utf-8", "surrogatepass")), travelled)


def values_of(kind: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 (a line for each kind of annotation)
    """Values of a kind, as its annotation says it."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return JSON_VALUES
    if kind is str:
        return TEXTS
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind, localns=HIDDEN)
        return st.builds(kind, **{one.name: values_of(hints[one.name]) for one in dataclasses.fields(kind)})
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(st.none() if one is type(None) else values_of(one) for one in inner))
    if origin is tuple and inner[-1] is not ...:
        return st.tuples(*map(values_of, inner))
    if origin in (tuple, list):
        return st.lists(values_of(inner[0]), max_size=2).map(origin)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values_of(inner[1]), max_size=2)
    return {int: st.integers(), float: st.floats(allow_nan=False), bool: st.booleans()}[kind]


@pytest.mark.parametrize(
    "kind", [Opened, Added, StepReport, VariableSlice, FinalReport, tuple[list[TraceEvent], int | None]]
)
@settings(max_examples=15)
@given(data=st.data())
def test_a_report_is_at_the_other_end_what_it_was(kind: Any, data: st.DataObject) -> None:
    value = data.draw(values_of(kind))
    assert over(kind, value) == value


def test_a_context_that_loads_is_told_from_one_that_is_there() -> None:
    added = Added("s_1", LoadingReport("more", "documents", 10, 5, {"binary": 1}), {"more": "a line"})
    assert over(Added, added) == added


@given(st.text(st.characters()))
def test_a_variable_s_text_and_value_keep_every_character(text: str) -> None:
    for value in (text + LONE, {LONE: [text, LONE]}):
        part = VariableSlice("x", "str", None, value, False, 1, 0, None, False)
        assert over(VariableSlice, part).value == value


def test_numbers_keep_what_they_are() -> None:
    part = VariableSlice("x", "list", None, [1, 1.0, True, 10**300, 5e-324], False, 1, 0, None, False)
    again = over(VariableSlice, part).value
    assert [(type(one), one) for one in again] == [(type(one), one) for one in part.value]
    assert math.copysign(1, over(Any, -0.0)) == -1
