"""Lines at a terminal: with colours where rich is there, and the same words without it."""

from __future__ import annotations

import importlib.util
import io
import sys

import pytest

from rlm_kernel_mcp.commands.showing.terminal import STYLES, Coloured, Plain, is_terminal, printer
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


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_who_wants_no_colours_gets_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str]
) -> None:
    coloured(monkeypatch, **environ).line(("x", "bad"))
    out = capsys.readouterr().out
    assert ("x" in out, "\x1b[31m" in out) == (True, False)


def test_a_pager_that_is_left_early_ends_the_printing_and_not_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(io.StringIO):
        def flush(self) -> None:
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
