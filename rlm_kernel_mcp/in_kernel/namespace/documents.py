"""The documents of a session: `documents`, a table of where each lies in the text of its context.

Is: slices, made on access. Is not: a copy of any document, nor a wall or a courtesy.
Above: `offered.py`, which binds it. Below: `in_kernel/explore/usage.py`.
"""

from __future__ import annotations

import difflib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any, Final, NamedTuple

from rlm_kernel_mcp.in_kernel.explore.usage import opened

CLOSE_NAMES_FROM = 20_000
"""Among how many names the nearest to a missing one are looked for."""
_open: Final = opened.append
"""Notes a document whose text somebody takes."""


class _Part(NamedTuple):
    """The documents of one context."""

    name: str
    """The context's."""
    context: str
    first: int
    """How many documents stand before them."""
    starts: list[int]
    """Of each in `context`, and its end."""


class Documents(Mapping[str, str]):
    """Documents by name: slices of a context, made on access.

    `documents[name]` is a text; `documents.at(offset)` says which document an offset of the context that came first
    lies in (`documents.at(offset, "other")`: of the context of that name), and `documents.span(name)` where in its
    context a document lies. Iteration is in the order of the contexts.
    """

    __slots__ = ("_index", "_names", "_parts")

    def __init__(self, context: str, sizes: Sequence[Sequence[Any]], name: str = "context") -> None:
        """Args: as `add`."""
        self._names: list[str] = []
        self._index: dict[str, int] = {}
        self._parts: list[_Part] = []
        self.add(context, sizes, name)

    def add(self, context: str, sizes: Sequence[Sequence[Any]], name: str) -> None:
        """Add a context's: its whole text, (name, size in characters) of each document in order, without gaps.

        Raises:
            ValueError: a name comes twice, or the sizes do not add up to the text; nothing has been added.
        """
        names: list[str] = [document for document, _ in sizes]
        part = _Part(name, context, len(self._names), list(accumulate((size for _, size in sizes), initial=0)))
        index = {document: place for place, document in enumerate(names, part.first)}
        if len(index) != len(names) or index.keys() & self._index.keys():
            raise ValueError("two documents have the same name")
        if sizes and part.starts[-1] != len(context):
            raise ValueError(f"the documents have {part.starts[-1]:,} characters and the context {len(context):,}")
        self._parts.append(part)
        self._index.update(index)
        self._names += names

    def take_back(self, name: str) -> None:
        """Take the documents of the context out that came last, if it has this name."""
        if self._parts and self._parts[-1].name == name:
            first = self._parts.pop().first
            for document in self._names[first:]:
                del self._index[document]
            del self._names[first:]

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
        part, start, end = self._place(name)
        _open((part.name, name, end - start))
        return part.context[start:end]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __repr__(self) -> str:
        first = "".join(f", {name!r}" for name in self._names[:3]) + (", …" if len(self._names) > 3 else "")
        chars = sum(len(part.context) for part in self._parts)
        counts = ((len(self._names), "document"), (chars, "character"))
        told = ", ".join(f"{count:,} {noun}{'' if count == 1 else 's'}" for count, noun in counts)
        return f"<Documents: {told}{first}>"

    def span(self, name: str) -> tuple[int, int]:
        """Where a document lies in its context, in characters: `context[start:end]` is its text.

        Raises:
            KeyError: no document has this name; the message gives the nearest ones.
        """
        return self._place(name)[1:]

    def at(self, offset: int, context: str | None = None) -> tuple[str, int]:
        """The document that an offset of a context lies in, and the offset in that document.

        `context`: the context's name; None: of the one that came first.

        Raises:
            IndexError: the offset lies outside of the text, or there are no documents.
            KeyError: no context has this name.
        """
        part = self._parts[0] if self._parts else _Part("context", "", 0, [0])
        if context is not None:
            named = {part.name: part for part in self._parts}
            if context not in named:
                raise KeyError(f"no context {context!r} has documents; these have: {', '.join(named)}")
            part = named[context]
        if len(part.starts) == 1 or not 0 <= offset < len(part.context):
            raise IndexError(f"offset {offset:,} is outside of the {len(part.context):,} characters of {part.name}")
        index = bisect_right(part.starts, offset, hi=len(part.starts) - 1) - 1
        return self._names[part.first + index], offset - part.starts[index]

    def _place(self, name: str) -> tuple[_Part, int, int]:
        """The part that a document stands in, and where it lies in that part's context."""
        index = self._index.get(name)
        if index is None:
            raise KeyError(self._missing(name))
        part = next(part for part in reversed(self._parts) if part.first <= index)
        return part, part.starts[index - part.first], part.starts[index - part.first + 1]

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
_parts_slot = vars(Documents)["_parts"].__get__


def held_names(documents: Documents) -> list[Any]:
    """The names that a `Documents` holds, read past anything that user code has put into its place."""
    names = _names_slot(documents)
    return names if type(names) is list else []


def held_contexts(documents: Documents) -> list[str]:
    """The names of the contexts that a `Documents` has documents of, the first one first; read in the same way."""
    parts = _parts_slot(documents)
    return [part.name for part in parts] if type(parts) is list else []


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
