"""Text that stands in markdown, and is nothing there but itself."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.text.markup import code, word
from tests.unit.text.spans import spans

TEXTS = ("", " ", "\n", " \r\n\n", "`", "`` ![x](//evil) ``", "` ` ``", " a ", "two  spaces", "a\n\n# b", "\t<img>")


@pytest.mark.parametrize("one", TEXTS)
def test_nothing_that_stands_in_a_code_span_ends_it_or_another(one: str) -> None:
    """Also where the first has no text: two ticks alone would open a span that ends within the second."""
    for other in TEXTS:
        texts, outside = spans(f"First {code(one)}: {code(other)}.")
        assert outside == "First \0: \0."
        assert texts == [" ".join(text.splitlines()) or " " for text in (one, other)]


@pytest.mark.parametrize("text", ["ValueError", "os.stat_result", "logs/a-b.txt", "x", "Größe", "a__b", "1"])
def test_a_plain_word_stays_bare(text: str) -> None:
    """An honest name costs no more than its characters."""
    assert word(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a b", "_a_", "__init__.py", "a\n", "<b>", "*a*", "[a](b)", "a:b", "-", "1.", "www.evil.example", "a@b"],
)
def test_what_is_no_plain_word_is_code(text: str) -> None:
    """Whatever markdown may take for something else than its characters."""
    assert word(text) == code(text)
    assert spans(word(text))[1] == "\0"
