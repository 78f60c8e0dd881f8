"""A terminal's rows as an SVG: one that stands still, or one that shows them come as they came.

Is: text, in a font that is there, with one class a style; no script, and nothing that is loaded. Is not: a recording of
each key: of a run that scrolls by, each line comes once, when it was complete. Above: `makers.py`. Below: `screen.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Final

from demo.pictures.screen import PLAIN, Row, Style

WIDE, HIGH, SIZE, PAD, BAR = 7.8, 17, 13, 14, 26
"""Of a character, of a line, of the font, of the border, and of the bar above."""
PAPER, INK = "#15181c", "#e9e6e0"
PALETTE: Final = {
    "black": "#3a3f47",
    "red": "#ff9a91",
    "green": "#5fd3c4",
    "yellow": "#f3ae63",
    "blue": "#7fb2ff",
    "magenta": "#d4a8f2",
    "cyan": "#9fd8e8",
    "white": INK,
}
FONT: Final = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
LONGEST_S: Final = 0.8
"""Of a pause; what took longer is shown so."""
STILL: Final = "@media (prefers-reduced-motion: reduce) { * { animation-delay: 0s !important; } }"


def still(rows: Sequence[Row], columns: int, title: str) -> str:
    """A picture of them."""
    names: dict[Style, str] = {}
    body = "\n".join(_line(row, number, names) for number, row in enumerate(rows))
    return _svg(columns, len(rows), title, _styles(names), body)


def moving(rows: Sequence[Row], came_s: Sequence[float], columns: int, height: int, title: str) -> str:
    """A picture in which each row comes when it came, of which the last `height` are seen; in the end it stands still.

    `came_s`: seconds from the beginning, for each of them.
    """
    names: dict[Style, str] = {}
    at_s, before_s, last_s = 0.0, 0.0, list[float]()
    for second in came_s:
        at_s += min(max(second - before_s, 0.0), LONGEST_S)
        before_s = second
        last_s.append(at_s)
    lines = [
        f'<g class="l" style="animation-delay:{when:.2f}s">{_line(row, number, names)}</g>'
        for number, (row, when) in enumerate(zip(rows, last_s, strict=True))
    ]
    rules = [".l{animation:l .01s linear both}", "@keyframes l{from{opacity:0}to{opacity:1}}", STILL]
    hidden = max(len(rows) - height, 0)
    if hidden:
        all_s = last_s[-1] + 0.01
        at = {f"{100 * last_s[height + place] / all_s:.2f}": place + 1 for place in range(hidden)}  # the last of each
        steps = (f"{share}%{{transform:translateY(-{gone * HIGH}px)}}" for share, gone in at.items())
        rules += [
            f".s{{animation:s {all_s:.2f}s step-end both}}",
            f"@keyframes s{{0%{{transform:none}}{''.join(steps)}}}",
        ]
    body = f'<g class="s">{"".join(lines)}</g>'
    return _svg(columns, min(height, len(rows)), title, _styles(names) + rules, body)


def _line(row: Row, number: int, names: dict[Style, str]) -> str:
    """A row: one piece of text for each run of one style."""
    y, made, column = number * HIGH, [], 0
    for style, cells in groupby(row, key=lambda cell: cell[1]):
        text = "".join(char for char, _ in cells)
        x, wide = column * WIDE, len(text) * WIDE
        column += len(text)
        behind = PALETTE.get(_colour(style.colour) or "", INK) if style.reversed else style.behind
        if behind:
            fill = _named(behind)
            made.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{HIGH}" fill="{fill}"/>')
        if text.strip():
            kind = names.setdefault(style, f"k{len(names)}")
            lead = len(text) - len(text.lstrip())
            shown = text.strip()
            x, wide = x + lead * WIDE, len(shown) * WIDE
            made.append(
                f'<text class="{kind}" x="{x:.1f}" y="{y + SIZE}" textLength="{wide:.1f}">'
                f"{escape(shown, quote=False)}</text>"
            )
    return "".join(made)


def _styles(names: dict[Style, str]) -> list[str]:
    return [f".{name}{{{_rules(style)}}}" for style, name in names.items() if style != PLAIN]


def _rules(style: Style) -> str:
    colour = PAPER if style.reversed else _named(style.colour) if style.colour else INK
    said = [f"fill:{colour}"]
    said += ["font-weight:600"] if style.bold else []
    said += ["opacity:.62"] if style.dim else []
    said += ["font-style:italic"] if style.italic else []
    said += ["text-decoration:underline"] if style.underlined else []
    return ";".join(said)


def _colour(name: str) -> str:
    return name.removeprefix("bright-")


def _named(name: str) -> str:
    return PALETTE.get(_colour(name), name)


def _svg(columns: int, rows: int, title: str, rules: Sequence[str], body: str) -> str:
    wide, high = round(columns * WIDE + 2 * PAD), rows * HIGH + BAR + PAD
    inner_wide, inner_high = wide - 2 * PAD, rows * HIGH
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        'role="img">'
        f"<title>{escape(title)}</title>"
        f"<style>text{{font:{SIZE}px {FONT};white-space:pre;fill:{INK}}}{''.join(rules)}</style>"
        f'<rect width="{wide}" height="{high}" rx="6" fill="{PAPER}"/>'
        f'<text x="{PAD}" y="17" opacity=".62">{escape(title)}</text>'
        f'<svg x="{PAD}" y="{BAR}" width="{inner_wide}" height="{inner_high}">{body}</svg></svg>\n'
    )
