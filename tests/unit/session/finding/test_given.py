"""Which parts of a text stood in a reply, by the text alone."""

from __future__ import annotations

import pytest

from rlm_kernel_mcp.session.finding.given import (
    CUTS_MAX,
    LINES_MAX,
    LONG_CHARS,
    TEXT_CHARS,
    WITHIN_MAX,
    Given,
    may_have_lines,
)

LOG = "\n".join(f"2026-11-30 12:00:{number:02} error E{number} customer=c{number}" for number in range(20))


def parts(reply: str | tuple[str, ...], text: str = LOG, least: int = 12) -> list[str]:
    """The parts of a text that stood in a reply."""
    given = Given.of((reply,) if isinstance(reply, str) else reply)
    return [text[start:end] for start, end in given.parts_of(text, least)]


LINES = LOG.split("\n")


def test_lines_in_a_row_are_one_part() -> None:
    """Whatever stands around them in the reply."""
    assert parts(f"found:\n{LINES[3]}\n{LINES[4]}\nand\n{LINES[9]}\n") == ["\n".join(LINES[3:5]), LINES[9]]


@pytest.mark.parametrize(
    "shown",
    [
        f"    {LINES[5]}  ",
        f"logs/api.log:212: {LINES[5]}",
        f"[0] context:6: {LINES[5]}",
        f"7 hits of 'E5'\n[0] context:6: {LINES[5]} groups ('x',)",
        repr(LINES[5]),
        repr([LINES[5], "other"]),
    ],
)
def test_a_line_is_found_as_it_is_shown(shown: str) -> None:
    """Printed, as a hit, as a value, and in a list."""
    assert parts(shown) == [LINES[5]]


def test_a_text_that_is_shown_as_python_writes_it_is_found_line_by_line() -> None:
    """With what it escapes."""
    text = "déjà\tvu: a line with a tab\nsecond line with 'quotes' and \"more\"\nthird line of it\n"
    assert parts(repr(text), text) == [text.rstrip("\n")]
    assert parts("'not closed and long enough to be a line", text) == []


def test_of_a_line_that_was_cut_the_part_that_was_shown_counts() -> None:
    """A match of a long line is shown with a part of it."""
    line = "x" * 50 + "needle in a very long line of the log, which goes on and on and on" + "y" * 500
    shown = line[40:160]
    assert parts(f"api.log:9: {shown}…", line) == [shown]
    assert parts(f"api.log:9: {shown[: LONG_CHARS - 1]}…", line) == []


def test_a_short_line_says_nothing_by_itself() -> None:
    """Beside a longer one that was there it is a part of it; an empty one too."""
    text = "def f():\n\n    return None  # as in the standard\n\n    pass\nother = 1\n"
    reply = "def f():\n\n    return None  # as in the standard\n\n    pass\n"
    assert parts(reply, text) == [reply.strip()]
    assert parts("def f():\n    pass", text) == []
    assert parts(reply, text, least=100) == []


def test_what_was_not_delivered_is_not_found() -> None:
    """Not even if it is like what was."""
    assert parts(LINES[5][:-1] + "6") == []
    assert parts("") == parts("no line of the log, but a long one all the same") == []


def test_there_is_a_most_of_everything() -> None:
    """A reply of lines, of cut lines, of one line; and a text of which each line has to be looked for."""
    many = Given.of(["\n".join(f"{number} {'z' * 60}…" for number in range(10_000)), "w" * 10_000_000])
    assert len(many.text) <= TEXT_CHARS + 1
    assert len(many.lines) <= 2 * LINES_MAX
    assert len(many.cut) == CUTS_MAX
    text = "\n".join(f"not there, line {number}" for number in range(5_000))
    assert list(many.parts_of(text)) == []
    assert many.left == 0
    assert WITHIN_MAX < 5_000


def test_a_reply_without_a_line_that_is_long_enough_is_known_at_once() -> None:
    """Nothing is looked for then."""
    assert not may_have_lines(("42", "", "x\n" * 1_000), 12)
    assert may_have_lines(("42", "x\n" + "y" * 12), 12)
