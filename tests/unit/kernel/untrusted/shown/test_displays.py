"""What a step displays, as a kernel says it: kept within limits, and what is not is counted with its reason."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.kernel.untrusted.shown.displays import (
    DISPLAYS_MAX,
    REASONS,
    RESULT,
    STEP_CHARS_MAX,
    TEXT_CHARS_MAX,
    TEXTS,
    TRIED_MAX,
    Display,
    Displays,
)
from tests.unit.kernel.untrusted.shown.drawn import base64_of, chunk, jpeg, large_png, png

PNG = base64_of(png())


def taken(*bundles: dict[str, Any], beside: object = None) -> Displays:
    displays = Displays()
    for bundle in bundles:
        displays.take(bundle, beside)
    return displays


def kept(**texts: Any) -> dict[str, Any]:
    """What a kernel has for the record, by the end of a type's name."""
    return {"kept": {next(kind for kind in TEXTS if name in kind): text for name, text in texts.items()}}


def test_what_one_value_shows_in_several_types_has_one_place() -> None:
    """A notebook has them in one output."""
    displays = Displays()
    displays.take({"text/plain": "x", "image/png": PNG}, kept(html="<b>", svg="<svg/>", markdown="# x"))
    displays.take({"image/jpeg": base64_of(jpeg())}, None)
    assert displays.kept == [
        Display("image/png", PNG, 1),
        Display("text/html", "<b>", 1),
        Display("text/markdown", "# x", 1),
        Display("image/svg+xml", "<svg/>", 1),
        Display("image/jpeg", base64_of(jpeg()), 2),
    ]
    assert displays.left_out == {}


def test_a_picture_goes_on_without_what_is_none_of_it() -> None:
    """And base64 in its one spelling."""
    whole = base64_of(png(chunk(b"tEXt", b"Comment\0x")) + b"PK")
    lines = "\n".join(whole[at : at + 76] for at in range(0, len(whole), 76))
    assert [one.data for one in taken({"image/png": lines}).kept] == [PNG]


@pytest.mark.parametrize(
    "data",
    ["not base64!", "", "AAAA", base64_of(b"\x89PNG\r\n\x1a\n"), base64_of(jpeg()), PNG[:-4], None, 3, {}, b"x", [PNG]],
)
def test_what_is_no_picture_is_counted_and_not_kept(data: object) -> None:
    displays = taken({"image/png": data})
    assert (displays.kept, displays.left_out) == ([], {"no_picture": 1})


def test_a_picture_of_more_than_a_megabyte_is_not_even_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base64, "b64decode", lambda *_, **__: pytest.fail("it was decoded"))
    displays = taken({"image/png": "iVBORw0KGgo" + "A" * 1_500_000})
    assert (displays.kept, displays.left_out) == ([], {"too_large": 1})


def test_html_and_svg_are_texts_that_nobody_reads_here() -> None:
    """Scripts, entities without end, whatever: they are kept as they came, and shown by nobody here."""
    evil = "<svg onload='x()'><script>x()</script></svg><!DOCTYPE x [<!ENTITY a '&a;&a;'>]>\u202e\x1b[2J\ud800"
    displays = taken({}, beside=kept(svg=evil, html=evil))
    assert [one.data for one in displays.kept] == [evil, evil]


def test_html_among_what_a_client_is_shown_is_nothing_of_ours() -> None:
    """A kernel of ours sends it beside that alone."""
    assert taken({"text/html": "<b>", "image/svg+xml": "<svg/>", "application/javascript": "x()"}).kept == []


def test_a_text_above_the_limit_is_counted_and_an_empty_one_is_nothing() -> None:
    displays = taken({}, beside=kept(html="x" * (TEXT_CHARS_MAX + 1), svg=""))
    assert (displays.kept, displays.left_out) == ([], {"too_large": 1})


def test_what_the_kernel_itself_left_out_is_counted_too() -> None:
    """In its own few words, and no others."""
    said = {"text/html": "failed", "image/svg+xml": "too_large", "text/markdown": "\x1b[2J", "image/png": "failed"}
    assert taken({}, beside={"left_out": said}).left_out == {"failed": 1, "too_large": 1}


@pytest.mark.parametrize("beside", [None, 3, "kept", [], {"kept": []}, {"kept": 3, "left_out": 3}, {"left_out": [1]}])
def test_what_stands_beside_in_another_shape_is_nothing(beside: object) -> None:
    displays = taken({"image/png": PNG}, beside=beside)
    assert (len(displays.kept), displays.left_out) == (1, {})


def test_a_million_displays_are_a_few_and_a_number() -> None:
    """Those that come first."""
    displays, beside = Displays(), kept(html="<b>")
    for _ in range(1_000_000 // 20):
        displays.take({"text/plain": "x"}, beside)
    assert len(displays.kept) == DISPLAYS_MAX
    assert displays.left_out == {"too_many": 1_000_000 // 20 - DISPLAYS_MAX}


def test_large_pictures_are_kept_as_long_as_the_step_has_room() -> None:
    large = base64_of(large_png(700_000))
    displays = taken(*[{"image/png": large}] * 10)
    assert len(displays.kept) == STEP_CHARS_MAX // len(large)
    assert displays.left_out == {"too_many": 10 - len(displays.kept)}


def test_only_so_many_pictures_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that turns out bad in its last byte costs as much as a good one, and there is no end of them."""
    decoded = 0
    decode = base64.b64decode

    def counting(data: str, *, validate: bool) -> bytes:
        nonlocal decoded
        decoded += len(data)
        return decode(data, validate=validate)

    bad = base64_of(large_png(30_000)[:-1] + b"!")
    monkeypatch.setattr(base64, "b64decode", counting)
    displays = taken(*[{"image/png": bad}] * 1_000)
    assert displays.left_out == {"no_picture": TRIED_MAX, "too_many": 1_000 - TRIED_MAX}
    assert decoded < (TRIED_MAX + 1) * len(bad)


def test_where_none_is_wanted_none_is_kept() -> None:
    """Of a console's cells."""
    displays = Displays(most=0)
    displays.take({"image/png": PNG}, kept(html="<b>"))
    assert (displays.kept, displays.left_out) == ([], {"too_many": 2})


def test_what_came_between_two_steps_is_the_next_one_s() -> None:
    """With what was left out of it, before all of its own, and each still in a place of its own."""
    late, displays = taken({"image/png": PNG}, {"image/png": "x"}, {"image/png": PNG}), Displays()
    displays.take_all(late)
    displays.take({}, kept(html="<b>", svg="<svg/>"))
    places = [(one.mime_type, one.place) for one in displays.kept]
    assert places == [("image/png", 1), ("image/png", 3), ("text/html", 4), ("image/svg+xml", 4)]
    assert displays.left_out == {"no_picture": 1}


def test_the_value_of_the_last_expression_has_a_place_that_no_display_has() -> None:
    """A notebook shows it as a cell's result."""
    displays = Displays()
    displays.take({"image/png": PNG}, None)
    displays.take({"image/png": PNG}, kept(html="<b>"), is_result=True)
    assert [one.place for one in displays.kept] == [1, RESULT, RESULT]


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(PNG),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*TEXTS, "kept"]), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["image/png", "image/jpeg", "text/html", "x"]), _json, max_size=4),
    st.dictionaries(st.sampled_from(["kept", "left_out", "x"]), _json, max_size=3) | _json,
)
def test_no_display_of_any_shape_raises(bundle: dict[str, Any], beside: object) -> None:
    displays = taken(bundle, bundle, beside=beside)
    assert all(isinstance(one.data, str) for one in displays.kept)
    assert set(displays.left_out) <= set(REASONS)
