"""Lines at a terminal: with colours where rich is there, and the same words without it."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import signal
import sys
from typing import Any

import pytest

from rlm_kernel_mcp.commands.showing.terminal import STYLES, Coloured, Plain, below, is_terminal, printer
from tests.parts import skip_for_lack_of


class Terminal(io.StringIO):
    """In place of a stream."""

    def isatty(self) -> bool:
        return True


def need_rich() -> None:
    if importlib.util.find_spec("rich") is None:
        skip_for_lack_of("rich", "bin/setup --with check")


def coloured(monkeypatch: pytest.MonkeyPatch, **environ: str) -> Coloured:
    need_rich()
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environ}.items():
        monkeypatch.setenv(name, value)
    return Coloured(40)


def test_without_rich_the_words_are_printed_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    plain = printer()
    assert isinstance(plain, Plain)
    plain.line(("a [red]b ", "bad"), ("c  ", "dim"))
    assert capsys.readouterr().out == "a [red]b c\n"


def test_nothing_that_is_printed_is_markup_and_no_line_is_cut_or_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What looks like rich's own markup, an emoji's name or a number stays as it is."""
    text = "[red]x[/red] :smile: 42 'str' " + "long " * 40
    coloured(monkeypatch).line((text, "plain"))
    assert capsys.readouterr().out == text.rstrip() + "\n"


def test_every_style_is_one_that_rich_knows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = coloured(monkeypatch)
    for style in STYLES:
        lines.line((style, style))
        out = capsys.readouterr().out
        assert style in out
        assert ("\x1b[" in out) is (style != "plain")


def test_a_line_in_several_styles_ends_where_its_words_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = coloured(monkeypatch)
    lines.line(("| ", "dim"), ("red  ", "bad"), ("  ", "plain"), ("", "dim"))
    lines.line(("  ", "dim"), ("", "plain"))
    lines.line()
    assert capsys.readouterr().out == "\x1b[2m| \x1b[0m\x1b[31mred\x1b[0m\n\n\n"


def test_lines_are_laid_out_by_rich_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace may have millions of them."""
    lines = coloured(monkeypatch)
    from rich.console import Console

    def refuse(*_given: object, **_more: object) -> None:
        raise AssertionError("rich lays out a line")

    monkeypatch.setattr(Console, "print", refuse)
    lines.line(("x", "bad"))


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_who_wants_no_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str]
) -> None:
    coloured(monkeypatch, **environ).line(("x", "bad"))
    out = capsys.readouterr().out
    assert ("x" in out, "\x1b[31m" in out) == (True, False)


def test_a_pager_that_is_left_early_ends_the_printing_and_not_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    lines = coloured(monkeypatch)
    monkeypatch.setattr(sys, "stdout", Left())
    with pytest.raises(BrokenPipeError):
        lines.line(("x", "plain"))


def test_a_person_is_at_all_of_the_streams_or_at_none() -> None:
    """One that is closed, or goes to a file, is no terminal."""
    person = Terminal()
    assert is_terminal(person)
    assert is_terminal(person, person)
    assert not is_terminal(person, io.StringIO())
    assert not is_terminal(None, person)


class Glass:
    """What a person sees of a terminal of so many columns: a screen without end, and the few sequences that move it."""

    def __init__(self, width: int) -> None:
        self.width = width

    def seen(self, written: str) -> list[str]:
        lines, row, column = [""], 0, 0
        for code, text in re.findall(r"(\x1b\[[?0-9;]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", written):
            if code == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif code == "\r":
                column = 0
            elif code.endswith("A"):
                row -= int(code[2:-1] or 1)
            elif code == "\x1b[2K":
                lines[row] = ""
            elif text:
                lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
                column += len(text)
                assert column <= self.width, "a line goes on in the next one, and what is erased is not all of it"
        return lines


def test_lines_below_what_is_printed_leave_nothing_and_hide_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    need_rich()
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "20", "LINES": "5", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    drawn = below(terminal)
    assert drawn is not None
    glass = Glass(20)
    drawn.draw([[("a line that is longer than the screen", "answer")], [("[b]second", "dim")]])
    assert glass.seen(terminal.getvalue()) == ["a line that is long", "[b]second"]
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
    drawn.draw([[("open", "plain")], [("first", "answer")], [("second", "dim")]])
    assert glass.seen(terminal.getvalue()) == ["open", "first", "second"]
    drawn.clear()
    drawn.clear()
    terminal.write("printed\n")
    drawn.draw([[("x", "plain")]])
    drawn.clear()
    terminal.write("again\n")
    assert [line for line in glass.seen(terminal.getvalue()) if line] == ["printed", "again"]


def test_there_are_none_where_no_person_looks_or_the_terminal_cannot_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    need_rich()
    monkeypatch.setenv("TERM", "xterm")
    assert below(io.StringIO()) is None
    monkeypatch.setenv("TERM", "dumb")
    assert below(Terminal()) is None
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert below(Terminal()) is None


def test_ctrl_c_while_such_lines_are_drawn_comes_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich cannot be ended where it was interrupted between two words, and its command would end by a fault."""
    need_rich()
    from rich.console import Console

    real = Console.push_render_hook

    def interrupted(console: Console, hook: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(console, hook)

    for name, value in {"TERM": "xterm", "COLUMNS": "20", "LINES": "5", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Console, "push_render_hook", interrupted)
    terminal = Terminal()
    drawn = below(terminal)
    assert drawn is not None
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            drawn.draw([[("x", "plain")]])
    finally:
        signal.signal(signal.SIGINT, before)
    drawn.clear()
    terminal.write("after\n")
    assert [line for line in Glass(20).seen(terminal.getvalue()) if line] == ["after"]
