"""A terminal without glass: what a program has written, as rows of characters with their styles.

Is: the sequences that our commands, rich and prompt_toolkit use, and an answer to the question where the cursor is. Is
not: a whole terminal: what it does not know it leaves out. Sans-I/O. Above: `recording.py`, `drawing.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"\x1b\[(?P<private>[?>=]?)(?P<numbers>[0-9;:]*)[ -/]*(?P<kind>[@-~])"
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-Za-z]|(?P<short>\x1b[0-~])"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])|(?P<text>[^\x00-\x1f\x7f]+)"
)
_WHOLE: Final = re.compile(r"\x1b(?:\[[?>=]?[0-9;:]*[ -/]*|\][^\x07\x1b]*\x1b?|[()]?)?\Z")
"""The beginning of a sequence of which the rest is still to come."""
TAB: Final = 8
LOOKS: Final[dict[int, dict[str, Any]]] = {
    1: {"bold": True},
    2: {"dim": True},
    3: {"italic": True},
    4: {"underlined": True},
    7: {"reversed": True},
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underlined": False},
    27: {"reversed": False},
}
"""What a number changes."""
COLOURS: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")


@dataclass(frozen=True, slots=True)
class Style:
    """How a character looks. A colour: one of `COLOURS`, with `bright-` before it or not, or `#rrggbb`."""

    colour: str = ""
    behind: str = ""
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underlined: bool = False
    reversed: bool = False


PLAIN: Final = Style()
Cell = tuple[str, Style]
Row = list[Cell]


@dataclass(slots=True)
class Screen:
    """So many columns and rows, and all that has gone off the top."""

    columns: int
    rows: int
    gone: list[Row] = field(default_factory=list)
    lines: list[Row] = field(default_factory=lambda: [[]])
    row: int = 0
    column: int = 0
    style: Style = PLAIN
    answers: str = ""
    """What the terminal says to the program."""
    _rest: str = ""
    _kept: tuple[int, int] = (0, 0)

    @property
    def all_lines(self) -> list[Row]:
        """From the first one, seen or gone."""
        return [*self.gone, *self.lines]

    def text(self) -> str:
        """What is seen, as lines."""
        return "\n".join("".join(char for char, _ in line).rstrip() for line in self.lines)

    def feed(self, written: str) -> None:
        """The program has written this."""
        written = self._rest + written
        cut = _WHOLE.search(written)
        self._rest = "" if cut is None else cut[0]
        for found in _TOKEN.finditer(written if cut is None else written[: cut.start()]):
            if found["text"]:
                self._put(found["text"])
            elif found["control"]:
                self._control(found["control"])
            elif found["kind"]:
                numbers = [int(part or 0) for part in re.split("[;:]", found["numbers"])]
                self._sequence(found["private"], numbers, found["kind"])
            elif found["short"]:
                self._short(found["short"][1])

    def _put(self, text: str) -> None:
        for char in text:
            if self.column >= self.columns:
                self._next_line()
                self.column = 0
            line = self.lines[self.row]
            line += [(" ", PLAIN)] * (self.column + 1 - len(line))
            line[self.column] = (char, self.style)
            self.column += 1

    def _control(self, char: str) -> None:
        match char:
            case "\n" | "\x0b" | "\x0c":
                self._next_line()
            case "\r":
                self.column = 0
            case "\b":
                self.column = max(min(self.column, self.columns - 1) - 1, 0)
            case "\t":
                self.column = min((self.column // TAB + 1) * TAB, self.columns - 1)

    def _short(self, char: str) -> None:
        match char:
            case "7":
                self._kept = (self.row, self.column)
            case "8":
                self._move(*self._kept)
            case "M":
                self._move(self.row - 1, self.column)

    def _next_line(self) -> None:
        self._move(self.row + 1, self.column)

    def _move(self, row: int, column: int) -> None:
        while row >= self.rows:
            self.gone.append(self.lines.pop(0))
            self.lines.append([])
            row -= 1
        self.row, self.column = max(row, 0), max(min(column, self.columns - 1), 0)
        self.lines += [[] for _ in range(self.row + 1 - len(self.lines))]

    def _sequence(self, private: str, numbers: list[int], kind: str) -> None:
        first = numbers[0]
        count, last = max(first, 1), numbers[-1] if len(numbers) > 1 else 1
        if kind == "m":
            self.style = self.style if private else styled(self.style, numbers)
        elif kind in "su":
            self._short("7" if kind == "s" else "8")
        elif kind == "n":
            self.answers += f"\x1b[{self.row + 1};{self.column + 1}R" if first == 6 else ""
        elif place := self._places(count, max(last, 1)).get(kind):
            self._move(*place)
        else:
            self._erase(kind, first, count)

    def _places(self, count: int, last: int) -> dict[str, tuple[int, int]]:
        """Where each of the sequences that move the cursor has it."""
        row, column, lowest = self.row, self.column, self.rows - 1
        below, given = min(row + count, lowest), (min(count - 1, lowest), last - 1)
        return {
            "A": (row - count, column),
            "B": (below, column),
            "C": (row, column + count),
            "D": (row, column - count),
            "E": (below, 0),
            "F": (row - count, 0),
            "G": (row, count - 1),
            "d": (given[0], column),
            "H": given,
            "f": given,
        }

    def _erase(self, kind: str, first: int, count: int) -> None:
        line = self.lines[self.row]
        match kind, first:
            case "K", 0:
                del line[self.column :]
            case "K", 1:
                line[: self.column + 1] = [(" ", PLAIN)] * min(self.column + 1, len(line))
            case "K", _:
                line.clear()
            case "J", 0:
                del line[self.column :]
                del self.lines[self.row + 1 :]
            case "J", _:
                self.lines = [[] for _ in self.lines]
            case "P", _:
                del line[self.column : self.column + count]
            case "X", _:
                line[self.column : self.column + count] = [(" ", PLAIN)] * len(line[self.column : self.column + count])
            case "@", _:
                line[self.column : self.column] = [(" ", PLAIN)] * count


def styled(style: Style, numbers: list[int]) -> Style:
    """A style after the numbers of one sequence."""
    left = list(numbers)
    while left:
        number = left.pop(0)
        match number:
            case 0:
                style = PLAIN
            case 1 | 2 | 3 | 4 | 7 | 22 | 23 | 24 | 27:
                style = replace(style, **LOOKS[number])
            case 38 | 48:
                colour = _extended(left)
                style = replace(style, colour=colour) if number == 38 else replace(style, behind=colour)
            case 39 | 49:
                style = replace(style, colour="") if number == 39 else replace(style, behind="")
            case _ if 30 <= number % 60 <= 37 or 40 <= number % 60 <= 47:
                place, bright = number % 60, "bright-" if number >= 90 else ""
                colour = f"{bright}{COLOURS[place % 10]}"
                style = replace(style, colour=colour) if place < 40 else replace(style, behind=colour)
    return style


def _extended(left: list[int]) -> str:
    """A colour of 256 or of 16 million, which takes its numbers from those that are left."""
    kind = left.pop(0) if left else 0
    if kind == 2 and len(left) >= 3:
        red, green, blue = (left.pop(0) for _ in range(3))
        return f"#{red:02x}{green:02x}{blue:02x}"
    number = left.pop(0) if left else 0
    if number < 16:
        return f"{'bright-' if number > 7 else ''}{COLOURS[number % 8]}"
    if number >= 232:
        return "#" + f"{8 + 10 * (number - 232):02x}" * 3
    steps = [(number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6]
    return "#" + "".join(f"{0 if step == 0 else 55 + 40 * step:02x}" for step in steps)
