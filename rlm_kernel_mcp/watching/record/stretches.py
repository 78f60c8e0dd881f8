"""Parts of a context that have names: its folders, inside one its documents, and at most 64 of them.

Is: pure and linear in the documents, whatever they are called. Is not: where they lie, which the record has
(`maps.py`). Above: `maps.py`. Below: `watching/messages/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from rlm_kernel_mcp.watching.messages.stream import STRETCHES_MAX, Stretch

NAME_CHARS: Final = 300
TOP: Final = "(top level)"
"""Of files that lie beside folders."""


class Place(NamedTuple):
    """A document, in characters of its context."""

    name: str
    start: int
    chars: int

    @property
    def end(self) -> int:
        return self.start + self.chars


def stretches(documents: Sequence[Place], start: int, end: int) -> list[Stretch]:
    """Those of a window, in order: the folders that differ in it, or its documents where all lie in one folder."""
    inside = [one for one in documents if one.start < end and (one.end > start or one.start == start)]
    return fewer(list(_named(inside))) if inside else []


def fewer(found: Sequence[Stretch], most: int = STRETCHES_MAX) -> list[Stretch]:
    """At most so many: the largest stay, and what lies between two of them becomes one without a name of its own."""
    if len(found) <= most:
        return list(found)
    by_size = sorted(range(len(found)), key=lambda place: found[place]["start"] - found[place]["end"])
    kept = set(by_size[: (most - 1) // 2])
    result: list[Stretch] = []
    for is_kept, places in groupby(range(len(found)), key=kept.__contains__):
        run = [found[place] for place in places]
        result += run if is_kept else [_others(run)]
    return result


def _others(run: Sequence[Stretch]) -> Stretch:
    if len(run) == 1:
        return run[0]
    documents = sum(one["documents"] for one in run)
    name = f"{documents:,} others"
    return {"name": name, "start": run[0]["start"], "end": run[-1]["end"], "documents": documents}


def _named(inside: Sequence[Place]) -> Iterator[Stretch]:
    """The children of the deepest folder that has all of them."""
    depth = _shared_depth(one.name for one in inside)
    keys = [_child(one.name, depth) for one in inside]
    has_folders = any(is_folder for _, is_folder in keys)
    place = 0
    for (name, is_folder), run in groupby(keys, key=lambda key: key if key[1] or not has_folders else (TOP, False)):
        count = len(list(run))
        documents = inside[place : place + count]
        place += count
        if is_folder or has_folders:
            yield _stretch(name, documents)
        else:
            yield from (_stretch(one.name, [one]) for one in documents)


def _stretch(name: str, documents: Sequence[Place]) -> Stretch:
    start, end = documents[0].start, documents[-1].end
    return {"name": name[-NAME_CHARS:], "start": start, "end": end, "documents": len(documents)}


def _child(name: str, depth: int) -> tuple[str, bool]:
    """The part of a name that is shown below a folder of that depth, and whether it is a folder itself."""
    parts = name.split("/")
    return "/".join(parts[: depth + 1]), len(parts) > depth + 1


def _shared_depth(names: Iterable[str]) -> int:
    """How many folders, one in the other, have all of them."""
    shared: list[str] | None = None
    for name in names:
        folders = name.split("/")[:-1]
        if shared is None:
            shared = folders
            continue
        same = 0
        for one, other in zip(shared, folders, strict=False):
            if one != other:
                break
            same += 1
        shared = shared[:same]
        if not shared:
            break
    return len(shared or [])
