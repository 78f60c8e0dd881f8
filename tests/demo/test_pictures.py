"""What a program has written becomes the rows that a person sees, and these a picture that loads nothing."""

from __future__ import annotations

import re
from xml.dom.minidom import parseString

import pytest

from demo.pictures.__main__ import PICTURES
from demo.pictures.drawing import moving, still
from demo.pictures.makers import MAKERS
from demo.pictures.screen import PLAIN, Screen, Style
from tests.parts import ROOT


def shown(*written: str, columns: int = 20, rows: int = 4) -> Screen:
    screen = Screen(columns, rows)
    for piece in written:
        screen.feed(piece)
    return screen


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("one\r\ntwo", "one\ntwo"),
        ("half\r\x1b[Kwhole", "whole"),
        ("first\r\nsecond\x1b[1A\r\x1b[2Kanew", "anew\nsecond"),
        ("\x1b[3;5Hhere\x1b[HX", "X\n\n    here"),
        ("abcdef\b\b\x1b[1Px", "abcdx"),
        ("a\tb", "a       b"),
        ("x" * 25, "x" * 20 + "\n" + "x" * 5),
        ("\x1b]0;title\x07text\x1b[?25l\x1b[?2004h", "text"),
        ("all of it\x1b[2J\x1b[Hnew", "new"),
        ("keep\x1b[s\r\nbelow\x1b[u it", "keep it\nbelow"),
    ],
)
def test_the_screen_shows_what_a_terminal_would(written: str, text: str) -> None:
    """Also where it comes in two pieces, wherever that is cut."""
    for cut in range(len(written) + 1):
        assert shown(written[:cut], written[cut:]).text().rstrip("\n") == text, cut


def test_what_goes_off_the_top_is_kept() -> None:
    screen = shown("\r\n".join("abcdef"))
    assert screen.text() == "c\nd\ne\nf"
    assert ["".join(char for char, _ in row) for row in screen.all_lines] == list("abcdef")


def test_a_program_that_asks_where_the_cursor_is_is_told() -> None:
    assert shown("ab\r\ncd\x1b[6n").answers == "\x1b[2;3R"


def test_styles_are_those_of_the_characters() -> None:
    (row,) = shown("\x1b[1;31mr\x1b[0mp\x1b[38;5;208mo\x1b[38;2;1;2;3mt\x1b[39;7mi\x1b[27;94mb").lines
    assert [style for _, style in row] == [
        Style("red", bold=True), PLAIN, Style("#ff8700"), Style("#010203"), Style(reversed=True), Style("bright-blue"),
    ]  # fmt: skip


def test_a_picture_is_xml_without_anything_that_is_loaded_or_run() -> None:
    screen = shown("<script>alert(1)</script>&\r\n\x1b[7;32mgreen\x1b[0m", columns=40)
    for picture in (still(screen.lines, 40, "a <title>"), moving(screen.lines, [0.1, 9.0], 40, 1, "x")):
        parsed = parseString(picture)
        texts = [
            "".join(part.nodeValue or "" for part in one.childNodes) for one in parsed.getElementsByTagName("text")
        ]
        assert texts[1:] == ["<script>alert(1)</script>&", "green"]
        assert not {"script", "image", "foreignObject"} & {one.tagName for one in parsed.getElementsByTagName("*")}
        assert "href" not in picture
        assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_rows_come_as_they_came_and_long_pauses_are_short() -> None:
    screen = shown("one\r\ntwo\r\nthree")
    picture = moving(screen.lines, [0.0, 0.5, 60.0], 20, 2, "x")
    assert [f"animation-delay:{when}s" in picture for when in ("0.00", "0.50", "1.30")] == [True] * 3
    assert picture.count("translateY(-17px)") == 1


def test_each_picture_is_made_by_a_maker_and_shown_by_the_readme() -> None:
    """And none lies there that nobody makes, or that nobody sees."""
    assert {path.name for path in PICTURES.iterdir()} == MAKERS.keys()
    shown = re.findall(r"!\[[^\]]+\]\(docs/pictures/([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(MAKERS)
