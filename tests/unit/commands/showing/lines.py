"""A printer that keeps what it is to print, for tests of what is shown at a terminal."""

from __future__ import annotations

from rlm_kernel_mcp.commands.showing.terminal import Part, Style


class Lines:
    """`Printer` with lines of so many columns."""

    def __init__(self, width: int = 60) -> None:
        self.width = width
        self.parts: list[tuple[Part, ...]] = []

    def line(self, *parts: Part) -> None:
        self.parts.append(parts)

    @property
    def texts(self) -> list[str]:
        """What a person reads."""
        return ["".join(text for text, _ in line).rstrip() for line in self.parts]

    def style_of(self, text: str) -> Style:
        """Of the first part that has the text."""
        return next(style for line in self.parts for words, style in line if text in words)
