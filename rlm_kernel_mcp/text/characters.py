r"""Which characters act on a terminal, reorder or hide text, and which of them spell a word: one table.

Is: the escape of every character that acts (`\x1b`, `\u202e`), at the speed of C. Is not: the length of anything
(`safe_text.py`). What spells stays only where it can: a joiner, a mark of direction or a soft hyphen beside a letter,
mark or emoji; a variation selector after a character that has variants, which no letter of Latin, Greek or Cyrillic
has: behind each of those it could carry a hidden byte. Of tags only the three flags that Unicode recommends stay.
Above: `safe_text.py`. Below: nothing. Source: Unicode 15.1, UTS #51 and its emoji-sequences.txt.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

_RETURN: Final = "\r"
_JOINERS: Final = "\u00ad\u034f\u200c-\u200f"
"""Soft hyphen, grapheme joiner, zero-width non-joiner and joiner, left-to-right and right-to-left mark."""
_VARIANTS: Final = "\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_TAGS: Final = "\U000e0020-\U000e007f"
_OTHERS: Final = (
    "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u115f\u1160\u17b4\u17b5"  # Arabic letter mark, letters that show nothing
    "\u200b\u2028-\u202e\u2060-\u206f\u3164"  # zero-width space, separators, bidi controls
    "\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb"  # lone surrogates, byte order mark, annotations
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # shorthand and musical controls
    "\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"  # a tag of old, unassigned
)
_EMOJI: Final = (
    "\u00a9\u00ae\u203c\u2049\u2122-\u21ff\u2300-\u23ff\u24c2\u25a0-\u2bff\u3030-\u303d\u3297\u3299"
    "\U0001f000-\U0001faff"
)
_LETTER: Final = r"[^\W\d_]"
_MARKS: Final = (
    "\u0300-\u034e\u0350-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0711\u0730-\u074a"
    "\u07a6-\u07b0\u07eb-\u07f3\u07fd\u0816-\u082d\u0859-\u085b\u0897-\u0963\u0971-\u0df4\u0e31-\u0e4e\u0eb1-\u0ece"
    "\u0f18-\u0fbc\u1000-\u109f\u135d-\u135f\u1712-\u1773\u17b6-\u17d3\u17dd\u18a9\u1920-\u193b\u1a17-\u1a7f"
    "\u1ab0-\u1b44\u1b6b-\u1bf3\u1c24-\u1c37\u1cd0-\u1cf9\u1dc0-\u1dff\u20d0-\u20f0\u2cef-\u2cf1\u2d7f\u2de0-\u2dff"
    "\u302a-\u302f\u3099\u309a\ua66f-\ua69f\ua6f0\ua6f1\ua802-\ua82c\ua880-\ua8f1\ua8ff-\ua953\ua980-\ua9e5\uaa29-\uaa4d"
    "\uaa7b-\uaabf\uaac1\uaaeb-\uaaf6\uabe3-\uabed\ufb1e\ufe20-\ufe2f\U000101fd\U000102e0\U00010376-\U0001037a"
    "\U00010a01-\U00010a3f\U00010ae5-\U00010ae6\U00010d24-\U00010d27\U00010eab-\U00010eff\U00010f46-\U00010f85"
    "\U00011000-\U00011fff\U00016af0-\U00016af4\U00016b30-\U00016b36\U00016f4f-\U00016f92\U0001bc9d\U0001bc9e"
    "\U0001d165-\U0001d169\U0001d16d-\U0001d172\U0001e000-\U0001e2ef\U0001e8d0-\U0001e94a"
)
"""Marks, and what lies between them in the blocks of scripts that are full of them."""
_HAS_VARIANTS: Final = (
    f"{_EMOJI}\u0590-\u061b\u061d-\u115e\u1161-\u17b3\u17b6-\u180a\u1810-\u1fff\u20d0-\u20ff\u3040-\u3163\u3165-\ud7ff"
    "\uf900-\ufdff\U00010000-\U00016fff\U00017000-\U0001cfff\U0001e000-\U0001efff\U00020000-\U0003ffff"
)

LONGEST_SEQUENCE: Final = 8
"""Characters, at least, of the longest sequence whose parts are judged by each other: a flag has seven."""

SUSPECT: Final = re.compile(f"[{_RETURN}{_JOINERS}{_VARIANTS}{_TAGS}{_OTHERS}]")
_DEPENDS: Final = re.compile(f"[{_RETURN}{_JOINERS}{_VARIANTS}{_TAGS}]")


@cache
def _acts() -> re.Pattern[str]:
    """What is to be escaped, where some of it depends on its neighbours; a flag is found as well, to be left alone."""
    # The character first and then what is before it: few characters are one, and each look back costs.
    beside = f"[{_MARKS}{_EMOJI}]"
    spells = f"[{_JOINERS}](?<!{_LETTER}.)(?<!{beside}.)(?!{_LETTER})(?!{beside})"
    variants = f"[{_VARIANTS}](?<![{_HAS_VARIANTS}].)"
    flags = "|".join(_tagged(region) for region in ("gbeng", "gbsct", "gbwls"))
    keycap = "[0-9#*]\ufe0f\u20e3"
    return re.compile(f"(?P<kept>\U0001f3f4(?:{flags})|{keycap})|\r+(?!\n)|{spells}|{variants}|[{_TAGS}{_OTHERS}]+")


def _tagged(region: str) -> str:
    """The name of a region in tags, as it follows the black flag."""
    return "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"


@cache
def _escapes() -> dict[int, str]:
    """The escape of each character that may be escaped."""
    found: dict[int, str] = {}
    for piece in re.findall("(.)(?:-(.))?", _RETURN + _JOINERS + _VARIANTS + _TAGS + _OTHERS, re.DOTALL):
        first, last = ord(piece[0]), ord(piece[1] or piece[0])
        found |= {code: _escape(code) for code in range(first, last + 1)}
    return found


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escaped(text: str) -> str:
    """The text with each character that acts as its escape. Linear: some 5 ns a character, 60 where some act."""
    if SUSPECT.search(text) is None:
        return text
    if _DEPENDS.search(text) is None:
        return text.translate(_escapes())
    if "\r\n" in text and SUSPECT.search(text.replace("\r\n", "\n")) is None:
        return text
    return _acts().sub(_escape_run, text)


def _escape_run(run: re.Match[str]) -> str:
    return run[0] if run["kept"] else run[0].translate(_escapes())
