"""Under which names files of a session come to lie on a person's disk, whatever a kernel calls them.

Is: a path below a directory for each name, in which nothing leads elsewhere, hides, acts on a terminal or is taken for
an option, and no two of which are the same, also where capital letters do not count. Is not: a disk (`place.py`).
Above: `commands/files.py`. Below: the standard library.
"""

from __future__ import annotations

import unicodedata
from typing import Final

NAME_BYTES_MAX: Final = 200
"""Of a file or a directory in UTF-8; a disk takes 255."""
DEPTH_MAX: Final = 8
"""Names of a path: what lies deeper comes to lie in the last directory, its names in one."""
SUFFIX_CHARS_MAX: Final = 12
_ALLOWED: Final = frozenset(" ._-+=,@#%()[]{}~")
"""Beside letters and digits, of whatever script."""
_FILLERS: Final = frozenset("\u115f\u1160\u3164\uffa0")
"""Letters by their category that nobody sees."""
_FIRST: Final = frozenset(".-~ ")
"""Not at the beginning: a name that is hidden, or an option, or somebody's home."""


class Names:
    """Those that are given in one run."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._numbers: dict[str, int] = {}
        """The last one that a name of a given name has got: a kernel may list thousands that come to the same."""

    def given(self, name: str) -> tuple[str, ...]:
        """A path for a file: the names of its directories, and its own."""
        parts = [_plain(part) for part in name.split("/") if part]
        if len(parts) > DEPTH_MAX:
            parts[DEPTH_MAX - 1 :] = ["_".join(parts[DEPTH_MAX - 1 :])]
        *directories, last = [_cut(part) for part in parts or ["_"]]
        stem, dot, suffix = last.rpartition(".")
        if not dot or len(suffix) > SUFFIX_CHARS_MAX:
            stem, suffix = last, ""
        path = (*directories, last)
        key = first = _key(path)
        while key in self._given:
            number = self._numbers[first] = self._numbers.get(first, 1) + 1
            path = (*directories, f"{stem} ({number}){dot and suffix and '.'}{suffix}")
            key = _key(path)
        self._given.add(key)
        return path


def _key(path: tuple[str, ...]) -> str:
    return "/".join(path).casefold()


def _plain(name: str) -> str:
    """With an underscore in place of each character that is not plain."""
    normal = unicodedata.normalize("NFC", name)
    plain = "".join(char if _is_plain(char) else "_" for char in normal)
    return "_" + plain[1:] if plain[0] in _FIRST else plain


def _is_plain(char: str) -> bool:
    return char in _ALLOWED or (char.isalnum() and char not in _FILLERS)


def _cut(name: str) -> str:
    """Short enough for a disk, with the end by which programs know its type."""
    data = name.encode()
    if len(data) <= NAME_BYTES_MAX:
        return name
    suffix = name.rpartition(".")[2] if "." in name[-SUFFIX_CHARS_MAX - 1 :] else ""
    end = f"~.{suffix}" if suffix else "~"
    return data[: NAME_BYTES_MAX - len(end.encode())].decode("utf-8", "ignore") + end
