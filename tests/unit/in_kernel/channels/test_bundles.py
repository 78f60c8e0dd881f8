"""What of a value's types goes to an agent, to a notebook and into the record, whatever the value's own code does."""

from __future__ import annotations

from typing import Any

import pytest

from rlm_kernel_mcp.in_kernel.channels.bundles import (
    BUNDLE_BYTES,
    IMAGES,
    KEPT,
    KEPT_CHARS,
    ShownBundle,
    extra_of,
    kept_of,
    presentable,
)
from rlm_kernel_mcp.in_kernel.channels.display import BoundedDisplayFormatter
from rlm_kernel_mcp.in_kernel.channels.packing import pack

WIDE = "\U0001f600"
"""A character of four bytes, and of twelve beside a lone surrogate."""


class Rich:
    """A value with something for everybody."""

    def __repr__(self) -> str:
        return "plain"

    def _repr_html_(self) -> Any:
        return "<b>", {"isolated": True}

    def _repr_markdown_(self) -> Any:
        return "*rich*"


class Hostile(Rich):
    """Nothing may ask it what it is."""

    @property  # type: ignore[misc]  # nobody sets it
    def __class__(self) -> Any:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]


class Claiming(str):
    """A text that says of itself what it likes."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


def formatter_of(types: tuple[str, ...] | None = None) -> BoundedDisplayFormatter:
    made = BoundedDisplayFormatter()
    if types is not None:
        made.show(types)
    return made


def made_by(html: Any) -> dict[str, Any]:
    """What is kept of a value whose HTML is this, or made by it."""

    class Value:
        def _repr_html_(self) -> Any:
            return html() if callable(html) else html

    return kept_of(Value(), {}, formatter_of().formatters)


def test_of_an_agent_s_value_it_is_sent_the_text_and_the_rest_goes_into_the_record() -> None:
    data, about = formatter_of(IMAGES).format(Rich())
    assert (data, about) == ({"text/plain": "plain"}, {})
    assert isinstance(data, ShownBundle)
    assert data.extra == {"kept": {"text/html": "<b>", "text/markdown": "*rich*"}, "left_out": {}}


def test_what_a_notebook_is_sent_has_nothing_beside_it() -> None:
    """Its own client shows it."""
    data, about = formatter_of().format(Rich())
    assert data == {"text/plain": "plain", "text/html": "<b>", "text/markdown": "*rich*"}
    assert about == {"text/html": {"isolated": True}}
    assert isinstance(data, ShownBundle)
    assert data.extra is None


def test_what_is_displayed_as_a_bundle_is_kept_too_and_once() -> None:
    """It comes by twice: formatted, and published."""
    shown, _ = presentable({"text/plain": "p", "text/html": "<i>"}, None, IMAGES)
    assert (shown, shown.extra) == ({"text/plain": "p"}, {"kept": {"text/html": "<i>"}, "left_out": {}})
    again, _ = presentable(shown, None, IMAGES)
    assert (again, again.extra) == (shown, shown.extra)


def failing() -> str:
    raise KeyError("no html")


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        (None, {}),
        ("<b>", {"text/html": "<b>"}),
        (("<b>", {}), {"text/html": "<b>"}),
        (failing, {"text/html": None}),
        ((), {"text/html": ()}),
    ],
    ids=["none", "text", "with metadata", "an error", "an empty pair"],
)
def test_what_a_value_makes_is_kept_and_what_fails_is_nothing(html: Any, kept: dict[str, Any]) -> None:
    """A KeyError of its own is no sign that it has no such method."""
    assert made_by(html) == kept


def test_no_value_can_make_that_fail() -> None:
    """Neither what it is nor what it makes is asked anything."""
    assert kept_of(Hostile(), {}, formatter_of().formatters) == dict.fromkeys(KEPT)
    assert extra_of({}, {"text/html": Hostile(), "image/svg+xml": b"<svg/>"}) == {
        "kept": {},
        "left_out": {"text/html": "failed", "image/svg+xml": "failed"},
    }


def test_a_text_that_lies_about_its_length_is_the_text_that_it_is() -> None:
    made = extra_of({}, {"text/html": Claiming("x" * (KEPT_CHARS + 1)), "text/markdown": Claiming("*x*")})
    assert made is not None
    assert made == {"kept": {"text/markdown": "*x*"}, "left_out": {"text/html": "too_large"}}
    assert type(made["kept"]["text/markdown"]) is str


@pytest.mark.parametrize("kept", [{}, {"text/html": ""}, {"text/latex": "$x$", "application/json": {}}])
def test_where_there_is_nothing_for_the_record_nothing_is_beside(kept: dict[str, Any]) -> None:
    assert extra_of({"text/plain": "x"}, kept) is None


def test_what_would_not_fit_one_message_loses_its_longest_texts() -> None:
    """The host reads none that is larger, and would end the kernel. What is shown is sent in any case."""
    shown = {"text/plain": "\ud800" + WIDE * 150_000}
    kept = {"text/html": WIDE * KEPT_CHARS, "text/markdown": WIDE * 20_000, "image/svg+xml": WIDE}
    made = extra_of(shown, kept)
    assert made is not None
    assert made["left_out"] == {"text/html": "too_large"}
    assert len(pack([shown, made["kept"]])) <= BUNDLE_BYTES
