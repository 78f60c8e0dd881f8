"""Text that a client sees is safe and of the asked length, and says exactly what it leaves out."""

# ruff: noqa: RUF001 - letters of other scripts are the point

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rlm_kernel_mcp.text import characters
from rlm_kernel_mcp.text import safe_text as cutting
from rlm_kernel_mcp.text.safe_text import END_CHARS, cut_ends, cut_text, is_safe, safe_prefix, safe_text, share

ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e001f]")
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=2_000)
dense = st.text(
    st.sampled_from("a1 \r\n\x1b\xad\u0301\u200c\u200d\u200f\ufe0f\u2764\u4e00\U0001f468" + SCOTLAND), max_size=400
)
"""Where nearly each character is judged by its neighbours."""


@given(anything)
def test_safe_text_has_no_character_that_acts(text: str) -> None:
    """C0 but tab and newline, C1, ESC, bidi, zero-width space, tags and lone surrogates are gone, and it is UTF-8."""
    safe = safe_text(text)
    assert not ACTING.search(safe.replace("\r\n", "\n"))
    safe.encode("utf-8")


@given(st.text(max_size=12), st.integers(0, 12), st.integers(0, 12))
def test_a_text_that_is_known_to_be_safe_stays_as_it_is_and_so_does_each_part(text: str, start: int, end: int) -> None:
    if is_safe(text):
        assert safe_text(text) == text
        assert safe_text(text[start:end]) == text[start:end]


def test_each_ascii_character_is_known_to_be_safe_or_is_escaped() -> None:
    for one in map(chr, range(128)):
        assert is_safe(f"a{one}b") == (safe_text(one) == one)


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
        ("1\u200d2 \u200f! \xad.", "1\\u200d2 \\u200f! \\xad."),
        ("a\u200d\u200d\u200db", "a\u200d\\u200d\u200db"),
        ("a\u034f\u034f\u034fb \u034f.", "a\u034f\\u034f\u034fb \\u034f."),
        ("a\U0001bca0\U0001bca1\U0001bca2\U0001bca3b", "a\\U0001bca0\\U0001bca1\\U0001bca2\\U0001bca3b"),
        ("\u2764\ufe0f\ufe0f", "\u2764\ufe0f\\ufe0f"),
        ("hidden\U000e0121\ufe01", "hidden\\U000e0121\\ufe01"),
        ("\U0001f3f4\U000e0068\U000e0069\U000e007f", "\U0001f3f4\\U000e0068\\U000e0069\\U000e007f"),
        ("\ufeffmark \u2066isolate\u2069 \u061c", "\\ufeffmark \\u2066isolate\\u2069 \\u061c"),
    ],
)
def test_what_acts_is_shown_as_its_escape(text: str, safe: str) -> None:
    """Honest text of any language stays as it is, line ends and emoji too."""
    assert safe_text(text) == safe


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",
        "क्\u200dष, क्\u200cष, শ\u09cd\u200dয, ශ\u0dca\u200dරී",
        "\u200fשלום\u200f abc\u200e",
        "Auf\xadlage, Auf\u200clage, Ma\u0308\u034fx",
        "👨\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 ❤\ufe0f\u200d🔥 🧑\U0001f3fd\u200d⚕\ufe0f 1\ufe0f\u20e3 ☎\ufe0e",
        SCOTLAND,
        "葛\U000e0100城, ᠠ\u180bᠨ\u180eᠠ",
        "line\r\nline\r\n",
    ],
    ids=["Persian", "Indic", "Hebrew", "soft hyphen", "emoji", "flag", "variants", "line ends"],
)
def test_what_spells_a_word_stays(text: str) -> None:
    """Also in each part of it that pages are made of: put together they are the text."""
    assert safe_text(text) == text
    for limit in range(8, len(text)):
        at, pages = 0, []
        while at < len(text):
            page, covered = safe_prefix(text[at:], limit)
            assert len(page) <= limit
            pages.append(page)
            at += covered
        assert "".join(pages) == text


@given(dense, st.integers(80, 200))
def test_pages_of_a_text_are_its_safe_form(text: str, limit: int) -> None:
    """Wherever a page ends, nothing is shown otherwise than in the whole."""
    at, pages = 0, []
    while at < len(text):
        page, covered = safe_prefix(text[at:], limit)
        pages.append(page)
        assert covered
        at += covered
    assert "".join(pages) == safe_text(text)


@pytest.mark.parametrize(
    "unit",
    ["\x1b", "\x1ba", "\r\n", "\r", "\u0301\u200c", "\u200d ", "\u200d", "\ufe0f", "\ud800", "\U000e0041"],
    ids=ascii,
)
def test_a_cut_looks_at_no_more_than_it_shows(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the text is, and whatever it is made of: the characters that are looked at are counted."""
    looked_at = 0

    def counting(text: str) -> str:
        nonlocal looked_at
        looked_at += len(text)
        return characters.escaped(text)

    monkeypatch.setattr(cutting, "escaped", counting)
    cut_text(unit * (4_000_000 // len(unit)), 200_000, "ask again")
    assert looked_at < 2 * 200_000


def test_a_text_made_safe_before_it_is_cut_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the count has all of it then."""
    looked_at: list[int] = []

    def counting(text: str) -> str:
        looked_at.append(len(text))
        return characters.escaped(text)

    monkeypatch.setattr(cutting, "escaped", counting)
    cut_text(safe_text("\x1b" * 500_000), 20_000, "ask again")
    assert sum(looked_at) > 2 * 20_000


def test_a_long_text_is_made_safe_in_short_calls() -> None:
    """Between them another thread gets the interpreter; the seams do not show."""
    text = "می\u200cخواهم\r\n" * 20_000
    assert safe_text(text) == text
    assert safe_text("\x1b" * 300_000) == "\\x1b" * 300_000


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


@given(anything, st.integers(0, 60))
def test_a_cut_needs_no_more_of_a_text_than_its_ends(text: str, limit: int) -> None:
    """A long answer is not read for it."""
    assume(len(text) > limit)
    edge = limit + END_CHARS
    made = cut_ends(text[:edge], text[-edge:], len(text), limit, "ask again")
    assert made == cut_text(text, limit, "ask again")


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
    """The reader must see that something is gone; `says_where` says whether the text names the call for the rest."""
    cut = cut_text("H" + "x" * 9_998 + "T", limit, "ask again")
    assert len(cut.text) <= limit
    assert mark in cut.text
    assert cut.says_where is ("ask again" in cut.text)
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
