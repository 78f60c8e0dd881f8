"""The pager of a trace at a terminal."""

from __future__ import annotations

import io
import signal
import sys
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.showing.pager import paged


class Terminal(io.StringIO):
    """In place of a stream."""

    def isatty(self) -> bool:
        return True


def shown_to_a_person(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The terminal. Called by a test itself: pytest puts its own streams in place after the fixtures."""
    made = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.setenv("TERM", "xterm")
    return made


def program(directory: Path, code: str) -> str:
    """A pager that is a program of Python."""
    path = directory / "pager.py"
    path.write_text(code)
    return f"{sys.executable} -I {path}"


def test_what_is_printed_goes_to_the_pager_which_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In UTF-8, and with colours where it is `less` and the user has said nothing else."""
    screen = shown_to_a_person(monkeypatch)
    told = tmp_path / "told"
    code = f"import os, sys\nopen({str(told)!r}, 'wb').write(sys.stdin.buffer.read() + os.environ['LESS'].encode())"
    monkeypatch.setenv("PAGER", program(tmp_path, code))
    monkeypatch.delenv("LESS", raising=False)
    before = signal.getsignal(signal.SIGINT)
    with paged():
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        print("▁ one\udc80")
    assert told.read_bytes() == "▁ one\\udc80\nFRX".encode()
    assert (screen.getvalue(), sys.stdout, signal.getsignal(signal.SIGINT)) == ("", screen, before)


def test_a_pager_that_is_left_before_the_end_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is printed then."""
    screen, has_all = shown_to_a_person(monkeypatch), False
    monkeypatch.setenv("PAGER", program(tmp_path, "import os\nos.close(0)"))
    with paged():
        for _ in range(1_000):
            print("x" * 10_000)
        has_all = True
    assert (has_all, sys.stdout is screen) == (False, True)


@pytest.mark.parametrize(
    "environ",
    [{"PAGER": ""}, {"PAGER": "cat"}, {"PAGER": "no-such-pager-at-all"}, {"PAGER": "'"}, {"TERM": "dumb"}],
    ids=["none", "cat", "missing", "no-words", "dumb"],
)
def test_where_none_is_wanted_or_there_it_is_printed_as_ever(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    screen = shown_to_a_person(monkeypatch)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with paged():
        print("one")
    assert screen.getvalue() == "one\n"


def test_what_no_person_reads_is_not_paged(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says."""
    told = tmp_path / "told"
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PAGER", program(tmp_path, f"open({str(told)!r}, 'w')"))
    with paged():
        print("one")
    assert (capsys.readouterr().out, told.exists()) == ("one\n", False)
