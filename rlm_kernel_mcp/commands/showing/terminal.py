"""Lines for a person at a terminal, each part of them in the style of what it is.

Is: the printing, in colours where `rich` is installed (extra `console`) and the terminal has them. Is not: what is
shown (`steps.py`, `heading.py`): that comes safe, and none of it is markup. Above: `steps.py`, `heading.py`. Below: the
standard library, and rich, which is imported when it is first needed.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from typing import Final, Literal, Protocol, TextIO

Style = Literal["plain", "dim", "head", "code", "bad", "gone", "asked", "answer", "person"]
Part = tuple[str, Style]
STYLES: Final[Mapping[Style, str]] = {
    "plain": "",
    "dim": "dim",
    "head": "bold",
    "code": "cyan",
    "bad": "red",
    "gone": "magenta",
    "asked": "blue",
    "answer": "yellow",
    "person": "green",
}
"""None says anything that the words beside it do not say."""


class Printer(Protocol):
    """Where lines go."""

    width: int

    def line(self, *parts: Part) -> None:
        """One line."""


class Plain:
    """Without colours."""

    def __init__(self, width: int) -> None:
        self.width = width

    def line(self, *parts: Part) -> None:
        print("".join(text for text, _ in parts).rstrip())


class Coloured:
    """With them, as far as the terminal and the user's environment (NO_COLOR, TERM) want them."""

    def __init__(self, width: int) -> None:
        from rich.console import Console
        from rich.text import Text

        self.width = width
        # Not asked whether it is a terminal: a pager may stand between. It prints to whatever stdout is by then.
        self._console = Console(force_terminal=True, width=width, markup=False, emoji=False, highlight=False)
        self._console.on_broken_pipe = _leave  # type: ignore[method-assign]
        self._text = Text

    def line(self, *parts: Part) -> None:
        line = self._text.assemble(*((text, STYLES[style]) for text, style in parts))
        line.rstrip()
        self._console.print(line, soft_wrap=True)


def _leave() -> None:
    """The pager was left before the end, which is no fault: rich would end the process."""
    raise BrokenPipeError


def is_terminal(*streams: TextIO | None) -> bool:
    """Whether a person is at the other end of all of them. None: it is closed."""
    return all(stream is not None and stream.isatty() for stream in streams)


def printer() -> Printer:
    """For the terminal that there is."""
    width = shutil.get_terminal_size().columns
    return Plain(width) if importlib.util.find_spec("rich") is None else Coloured(width)
