"""The page's modules that only compute, asked one by one: numbers in words, ranges, and which characters are named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.lab.chromium import Chromium
from tests.watching.stage import Stage
from tests.watching.tab import Tab, opened

pytestmark = pytest.mark.slow
STAYS: Final = [
    "plain text, with\ttabs",
    "naïve Straße, Ελληνικά, русский, 日本語, العربية, עברית",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with a non-joiner between letters
    "क्\u200dष",  # Devanagari, with a joiner
    "👩\u200d👩\u200d👧",  # a family, joined
    "🏳\ufe0f\u200d🌈 ❤\ufe0f 1\ufe0f\u20e3",
    "e\u0301 o\u0308\u0323",  # marks on letters
]
NAMED: Final = {
    "\x1b[31m": "ESC",
    "a\u202eb": "U+202E",
    "a\u200bb": "U+200B",
    " \u200d ": "U+200D",
    " \ufe0f": "U+FE0F",
    "a\u00adb": "U+00AD",
    "a\u115fb": "U+115F",
    "a\u3164b": "U+3164",
    "a\ufff2b": "U+FFF2",
    "a\ud800b": "U+D800",
    "\U000e0041": "U+E0041",
    "\x7f": "DEL",
    "\x9b": "U+009B",
    "a" + "\u0301" * 4: "+4 marks",
    "\rover": "CR",
}
WORDS: Final = {
    "short(9999)": "9,999",
    "short(31000)": "31 k",
    "short(7900000)": "7.9 M",
    "short(2000000000)": "2.0 G",
    "took(3)": "3 ms",
    "took(3520)": "3.52 s",
    "took(120000)": "2 min",
    "roughly(125900)": "2 min 5 s",
    "roughly(3600000)": "1 h 0 min",
    "ago(59000)": "now",
    "ago(172800000)": "2 d",
    "percent(0)": "0 %",
    "percent(0.00001)": "< 0.01 %",
    "percent(0.0003)": "0.03 %",
    "percent(0.5)": "50 %",
    "percent(0.9999)": "99 %",
    "percent(1)": "100 %",
    "plural(1, 'place')": "1 place",
    "plural(1789, 'document')": "1,789 documents",
    "clock('no time')": "",
}
RANGES: Final = {
    "union([[5, 9], [0, 3], [2, 6]])": [[0, 9]],
    "union([[0, 1], [3, 4]], 2)": [[0, 4]],
    "union([[0, 1], [3, 4]])": [[0, 1], [3, 4]],
    "total([[0, 3], [5, 9]])": 7,
    "runs([0, 1, 2, 0, 1], 1)": [[1, 3], [4, 5]],
    "runs([], 1)": [],
    "apart([0, 5, 90], 20, 100)": [0, 20, 80],
    "apart([95, 96, 97], 20, 100)": [40, 60, 80],
}


@pytest.fixture(scope="module")
def tab(browser: Chromium, stage: Stage) -> Iterator[Tab]:
    with opened(browser) as made:
        made.go(stage.address)
        yield made
    assert made.complaints == []


def asked(tab: Tab, module: str, expression: str) -> Any:
    """What a call of one of a module's functions gives."""
    return tab.run(f"import('./{module}').then((all) => all.{expression})")


def test_numbers_are_said_with_their_units(tab: Tab) -> None:
    assert {one: asked(tab, "ground/words.js", one).replace("\u00a0", " ") for one in WORDS} == WORDS


def test_ranges_are_joined_and_labels_kept_apart(tab: Tab) -> None:
    assert {one: asked(tab, "run/ranges.js", one) for one in RANGES} == RANGES


def test_what_spells_a_word_or_an_emoji_stays(tab: Tab) -> None:
    assert [asked(tab, "ground/foreign.js", f"foreign({json.dumps(text)})") for text in STAYS] == [
        [text] for text in STAYS
    ]


def test_what_acts_or_hides_is_named(tab: Tab) -> None:
    boxes = "filter((part) => part instanceof Element).map((part) => part.textContent)"
    found = {text: asked(tab, "ground/foreign.js", f"foreign({json.dumps(text)}).{boxes}") for text in NAMED}
    assert found == {text: [name] for text, name in NAMED.items()}


def test_a_line_is_cut_between_characters_and_says_how_many_are_left(tab: Tab) -> None:
    text = "x" * 599 + "😀" * 200
    found = asked(tab, "ground/foreign.js", f"foreign({json.dumps(text)}).map((part) => part.textContent ?? part)")
    assert found == ["x" * 599, " … 400 more characters in this line"]
