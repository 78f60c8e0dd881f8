"""Text that a client sees is safe and of the asked length, and says exactly what it leaves out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.session.cutting import cut_text, safe_prefix, safe_text, share

ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]"
)
anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=2_000)


@given(anything)
def test_safe_text_has_no_character_that_acts(text: str) -> None:
    """C0 but tab and newline, C1, ESC, bidi, zero-width, tags and lone surrogates are gone, and it is UTF-8."""
    safe = safe_text(text)
    assert not ACTING.search(safe)
    safe.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\r\nb\rc\r", "a\r\nb\\x0dc\\x0d"),
        ("\u26a0\ufe0f no\ufe0fne \ufe0f", "\u26a0\ufe0f no\\ufe0fne \\ufe0f"),
        ("\u202eevil", "\\u202eevil"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("Grüße, 你好 🎉", "Grüße, 你好 🎉"),
    ],
)
def test_what_acts_is_shown_as_its_escape(text: str, safe: str) -> None:
    """Honest text of any language stays as it is, line ends and emoji too."""
    assert safe_text(text) == safe


@given(anything, st.integers(0, 2_500))
def test_a_safe_prefix_fits_and_covers_what_it_says(text: str, limit: int) -> None:
    """It is the safe form of exactly that many source characters."""
    safe, covered = safe_prefix(text, limit)
    assert len(safe) <= limit
    assert safe == safe_text(text[:covered])


@given(anything, st.integers(0, 2_500))
def test_a_cut_text_fits_and_counts_what_is_gone(text: str, limit: int) -> None:
    """Nothing is gone exactly when the whole text fits."""
    cut = cut_text(text, limit, "ask again")
    assert len(cut.text) <= limit
    assert (cut.cut_chars == 0) == (len(safe_text(text)) <= limit)


def test_a_cut_keeps_head_and_tail_and_says_how_many_of_how_many() -> None:
    """The error at the end of a long output is what matters most, so the end is kept too."""
    text = "HEAD" + "x" * 99_992 + "TAIL"
    cut = cut_text(text, 1_000, "call rlm_get_trace")
    assert cut.text.startswith("HEAD")
    assert cut.text.endswith("TAIL")
    assert f"[... {cut.cut_chars:,} of 100,000 characters cut here; call rlm_get_trace ...]" in cut.text
    marker = re.search(r"\n\[\.\.\..*\.\.\.\]\n", cut.text)
    assert marker
    assert len(cut.text) - len(marker[0]) + cut.cut_chars == len(text)


@pytest.mark.parametrize(
    ("limit", "mark"), [(2, "…"), (50, "…"), (100, "cut here ...]"), (180, "cut here; ask again ...]")]
)
def test_a_small_cut_keeps_head_and_tail_and_says_what_fits(limit: int, mark: str) -> None:
    """The reader must see that something is gone; `is_told` says whether the text names the call for the rest."""
    cut = cut_text("H" + "x" * 9_998 + "T", limit, "ask again")
    assert len(cut.text) <= limit
    assert mark in cut.text
    assert cut.is_told is ("ask again" in cut.text)
    if limit > 2:
        assert (cut.text[0], cut.text[-1]) == ("H", "T")


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6), st.integers(0, 20_000))
def test_shares_never_pass_the_limit_nor_a_text_its_length(lengths: list[int], limit: int) -> None:
    """And as much is given as is asked for and there."""
    shares = share(lengths, limit)
    assert all(given <= asked for given, asked in zip(shares, lengths, strict=True))
    assert sum(shares) == min(limit, sum(lengths))


def test_a_short_text_is_not_cut_for_a_long_one() -> None:
    """stderr of three lines survives a flood on stdout."""
    assert share([1_000_000, 80], 1_000) == [920, 80]
