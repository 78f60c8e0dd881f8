"""The documents of a session: `documents`, a table of where each lies in the one text `context`.

Is: slices, made on access. Is not: a copy of any document, nor a wall or a courtesy.
Above: `offered.py`, which binds it. Below: the standard library.
"""

from __future__ import annotations

import difflib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any

CLOSE_NAMES_FROM = 20_000
"""Among how many names the nearest to a missing one are looked for."""


class Documents(Mapping[str, str]):
    """Documents by name: slices of one `context`, made on access.

    `documents[name]` is a text; `documents.at(offset)` says which document an offset of `context` lies in, and
    `documents.span(name)` where in `context` a document lies. Iteration is in the order of `context`.
    """

    __slots__ = ("_context", "_index", "_names", "_starts")

    def __init__(self, context: str, sizes: Sequence[Sequence[Any]]) -> None:
        """Args: the whole text, and (name, size in characters) of each document in order, without gaps.

        Raises:
            ValueError: a name comes twice, or the sizes do not add up to the text.
        """
        self._context = context
        self._names: list[str] = [name for name, _ in sizes]
        self._starts: list[int] = list(accumulate((size for _, size in sizes), initial=0))
        self._index = {name: index for index, name in enumerate(self._names)}
        if len(self._index) != len(self._names):
            raise ValueError("two documents have the same name")
        if sizes and self._starts[-1] != len(context):
            raise ValueError(f"the documents have {self._starts[-1]:,} characters and the context {len(context):,}")

    def __getitem__(self, name: str) -> str:
        """The text of one document.

        Raises:
            KeyError: no document has this name; the message gives the nearest ones.
            TypeError: it is a number or a slice.
        """
        if isinstance(name, int | slice):  # type: ignore[unreachable]  # a model's habit, not a type's
            many = isinstance(name, slice)  # type: ignore[unreachable]
            part, names, texts = ("...", "names", "their texts") if many else (f"{name}", "a name", "its text")
            raise TypeError(
                f"documents go by name: list(documents)[{part}] is {names}, list(documents.values())[{part}] {texts}"
            )
        start, end = self.span(name)
        return self._context[start:end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __repr__(self) -> str:
        first = "".join(f", {name!r}" for name in self._names[:3]) + (", …" if len(self._names) > 3 else "")
        counts = ((len(self._names), "document"), (len(self._context), "character"))
        told = ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
        return f"<Documents: {told}{first}>"

    def span(self, name: str) -> tuple[int, int]:
        """Where a document lies in `context`, in characters: `context[start:end]` is its text.

        Raises:
            KeyError: no document has this name; the message gives the nearest ones.
        """
        index = self._index.get(name)
        if index is None:
            raise KeyError(self._missing(name))
        return self._starts[index], self._starts[index + 1]

    def at(self, offset: int) -> tuple[str, int]:
        """The document that an offset of `context` lies in, and the offset in that document.

        Raises:
            IndexError: the offset lies outside of the text, or there are no documents.
        """
        if not self._names or not 0 <= offset < len(self._context):
            raise IndexError(f"offset {offset:,} is outside of the {len(self._context):,} characters of context")
        index = bisect_right(self._starts, offset, hi=len(self._names)) - 1
        return self._names[index], offset - self._starts[index]

    def _missing(self, name: object) -> str:
        if not self._names:
            return f"no document {name!r}: the context is one text without documents"
        wanted, names = str(name)[:500], self._names[:CLOSE_NAMES_FROM]
        near = ending_with(wanted, names) or difflib.get_close_matches(wanted, names, n=3)
        named = near or names[:3]
        which, are = "nearest" if near else "first", " is" if len(named) == 1 else "s are"
        hint = f"; the {which} name{are} {', '.join(repr(name[:200]) for name in named)}"
        return f"no document {name!r} among {len(self._names):,}{hint}"


_names_slot = vars(Documents)["_names"].__get__


def held_names(documents: Documents) -> list[Any]:
    """The names that a `Documents` holds, read past anything that user code has put into its place."""
    names = _names_slot(documents)
    return names if type(names) is list else []


def document_like(documents: Any, path: object) -> str:
    """The document that a path which could not be opened probably means, by its name; empty where there is none."""
    if type(documents) is not Documents or not isinstance(path, str | bytes):
        return ""
    names = held_names(documents)[:CLOSE_NAMES_FROM]
    parts = [part for part in os.fsdecode(path).split("/") if part not in ("", ".", "..")]
    known = set(names)
    whole = next((name for start in range(len(parts)) if (name := "/".join(parts[start:])) in known), "")
    ends = [] if whole else ending_with("/".join(parts), names)
    return ends[0] if len(ends) == 1 else whole


def ending_with(path: str, names: Iterable[str]) -> list[str]:
    """The names of the documents of which this is the file's name, or the last directories and that: at most 3."""
    return list(islice((name for name in names if path and name.endswith(f"/{path}")), 3))
