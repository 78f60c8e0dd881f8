"""Lines for a person at a terminal, each part of them in the style of what it is.

Is: the printing, in colours where `rich` is installed (extra `console`) and the terminal has them; and lines that stay
below what is printed, which there are only with it. Is not: what is shown (`steps.py`, `heading.py`): that comes safe,
and none of it is markup. Above: `steps.py`, `heading.py`, `following/footer.py`. Below: the standard library, and rich,
which is imported when it is first needed.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal, Protocol, TextIO

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

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


Paint = Callable[[str, Style], str]
"""Puts a style around a text of one line."""


def unpainted(text: str, _style: Style) -> str:
    """The text as it is."""
    return text


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
    """With them, as far as the terminal and the user's environment (NO_COLOR, TERM) want them.

    What rich puts around a text is asked of it once for each style: to lay a line out, as it does, takes seventy times
    as long as to print it, and a trace may have millions.
    """

    def __init__(self, width: int) -> None:
        from rich.console import Console
        from rich.text import Text

        self.width = width
        # Not asked whether it is a terminal: a pager may stand between.
        console = Console(force_terminal=True, width=width, markup=False, emoji=False, highlight=False)
        self._around: dict[Style, tuple[str, str]] = {}
        for style, words in STYLES.items():
            with console.capture() as captured:
                console.print(Text("x", words), end="")
            before, _, after = captured.get().partition("x")
            self._around[style] = before, after

    def line(self, *parts: Part) -> None:
        kept = list(parts)
        while kept and not kept[-1][0].strip():
            kept.pop()
        shown = [self.styled(text, style) for text, style in kept[:-1]]
        shown += [self.styled(text.rstrip(), style) for text, style in kept[-1:]]
        print("".join(shown))

    def styled(self, text: str, style: Style) -> str:
        """A text of one line with its style around it."""
        before, after = self._around[style]
        return f"{before}{text}{after}"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes afterwards: rich, interrupted as it begins or ends to draw, cannot be ended any more."""
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))  # a mask is one thread's alone
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held and callable(before):
        before(signal.SIGINT, None)


class Below:
    """Lines below all that is printed, drawn anew in their place, of which nothing stays once they are gone.

    They have to go before anything is printed.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self._console = Console(file=stream, markup=False, emoji=False, highlight=False)
        self._live, self._text = Live, Text
        self._drawn: Live | None = None

    @property
    def is_drawn_here(self) -> bool:
        """Whether the terminal can have lines drawn anew."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    @property
    def width(self) -> int:
        """Columns that a line may have."""
        return self._console.width - 1

    def draw(self, lines: Sequence[Sequence[Part]]) -> None:
        """Have these there."""
        texts = [self._text.assemble(*((text, STYLES[style]) for text, style in line)) for line in lines]
        for text in texts:
            text.truncate(self.width)
        shown = self._text("\n", no_wrap=True, overflow="crop").join(texts)
        with _uninterrupted():
            self._show(shown)

    def _show(self, shown: Text) -> None:
        if self._drawn is None:
            self._drawn = self._live(
                shown,
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._drawn.start()
            self._console.show_cursor(True)  # it hides it, and whoever kills or stops this process would be without one
        self._drawn.update(shown, refresh=True)

    def clear(self) -> None:
        """Have none there. Safe to call twice."""
        with _uninterrupted():
            if self._drawn is not None:
                drawn, self._drawn = self._drawn, None
                drawn.stop()


def is_terminal(*streams: TextIO | None) -> bool:
    """Whether a person is at the other end of all of them. None: it is closed."""
    return all(stream is not None and stream.isatty() for stream in streams)


def below(stream: TextIO) -> Below | None:
    """For a terminal; None: it is none, or cannot do it, or rich is not there."""
    if not is_terminal(stream) or importlib.util.find_spec("rich") is None:
        return None
    made = Below(stream)
    return made if made.is_drawn_here else None


def printer() -> Printer:
    """For the terminal that there is."""
    width = shutil.get_terminal_size().columns
    return Plain(width) if importlib.util.find_spec("rich") is None else Coloured(width)
