"""What of markdown stands in no code span, as a renderer sees it (CommonMark 0.31, section 6.1)."""

from __future__ import annotations

import re
from typing import Final

TICKS: Final = re.compile("`+")


def spans(paragraph: str) -> tuple[list[str], str]:
    """The texts of a paragraph's code spans, and the paragraph with a NUL in place of each."""
    found, outside, at = list[str](), "", 0
    while (run := TICKS.search(paragraph, at)) is not None:
        close = next((one for one in TICKS.finditer(paragraph, run.end()) if len(one[0]) == len(run[0])), None)
        outside += paragraph[at : run.start()]
        if close is None:
            outside, at = outside + run[0], run.end()
            continue
        text = paragraph[run.end() : close.start()].replace("\n", " ")
        is_padded = text[0] == text[-1] == " " and text.strip(" ")
        found.append(text[1:-1] if is_padded else text)
        outside, at = outside + "\0", close.end()
    return found, outside + paragraph[at:]
