"""Text of a kernel or a context within markdown, where nothing of it acts.

Is: a fence and a code span that what stands in them cannot close. Is not: a page (`server/markdown.py`), nor text that
acts in other ways (`safe_text.py`). Above: whoever writes markdown, or a message that stands in it. Below: nothing.
"""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"(?!.*www\.)[^\W_]\w*(?:[./-]\w+)*", re.IGNORECASE)
"""Nothing that markdown knows: no leading underscore, which could emphasize, and no address, which could be a link."""


def fenced(text: str, language: str = "") -> str:
    """`text` in a fence that is longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}"


def code(text: str) -> str:
    """`text` as one inline code span, with its spaces, and its line ends as spaces. Of no text: of one space.

    Two ticks with nothing between them are no empty span: they open one, which ends in what follows.
    """
    line = " ".join(text.splitlines()) or " "
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    ticks = "`" * (longest + 1)
    # A space at both ends is markup, unless there are only spaces.
    is_padded = longest or (line[0] == line[-1] == " " and line.strip(" "))
    return f"{ticks} {line} {ticks}" if is_padded else f"{ticks}{line}{ticks}"


def word(text: str) -> str:
    """`text` as it is if it is one plain word, such as `ValueError`, `os.stat_result` or `logs/a.txt`; else `code`."""
    return text if _WORD.fullmatch(text) else code(text)
