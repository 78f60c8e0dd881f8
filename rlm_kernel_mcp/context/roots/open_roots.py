"""Context roots as open directories: what a connection may load lies below the directories that were opened for it.

Is: sets of roots, what several of them allow together, and roots as one request has them. A root that is renamed, or
replaced by a link or another directory, is still the directory that was opened, or nothing
(docs/decisions/0116-roots-are-open-directories.md). Is not: opening a file (`opening.py`). Above: `opening.py`,
`sources.py`, the session. Below: `directory.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from rlm_kernel_mcp.context.roots.directory import Root, path_of, raise_if_of_the_process, walked

_TRIES: Final = 3
"""How many times a directory is asked for its name, which may change before it is followed."""


class Open(NamedTuple):
    """A root as one request has it."""

    path: str
    """What the system calls it just now."""
    descriptor: int
    """The request's own."""
    root: Root


class Allowed:
    """Roots for one request, as the system names them just now. Use it as a context manager."""

    def __init__(self, roots: Iterable[Root] = ()) -> None:
        """Raises: OSError: no descriptor is free, or no memory."""
        self.lost: tuple[str, ...] = ()
        """The paths of those that are not there: moved, removed, replaced, unmounted, or out of reach."""
        self._opened: list[Open] = []
        try:
            for root in roots:
                self._take(root)
        except BaseException:
            self.close()
            raise

    def _take(self, root: Root) -> None:
        descriptor = root.taken()
        if descriptor is not None:
            path = _path_that_leads_to(descriptor)
            if path is not None:
                self._opened.append(Open(path, descriptor, root))
                return
            os.close(descriptor)
        self.lost = (*self.lost, root.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what this request has. Safe to call twice."""
        while self._opened:
            os.close(self._opened.pop().descriptor)

    @property
    def paths(self) -> tuple[str, ...]:
        """Of those that are there."""
        return tuple(dict.fromkeys(one.path for one in self._opened))

    def has(self, path: str) -> bool:
        """Whether a resolved path is one of the roots or is below one, by its name."""
        return any(is_below(path, root) for root in self.paths)

    def is_root(self, path: str) -> bool:
        """Whether it is the path of one of the roots."""
        return path in self.paths

    @contextmanager
    def directory(self, path: str) -> Iterator[int | None]:
        """The directory at a resolved path, below the open root itself, as a place (O_PATH); None if it is outside.

        Raises:
            OSError: it is not there; ENOTDIR if a part of it is a link by now.
        """
        found = next((one for one in self._opened if is_below(path, one.path)), None)
        if found is None:
            yield None
            return
        descriptor = walked(found.descriptor, path[len(found.path.rstrip("/")) :].split("/"))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def keep_what_lies_in(self, other: Allowed) -> None:
        """Of these, and of the others, allow those that lie in one of the other side. The others' become these' own."""
        mine = [one for one in self._opened if any(_lies_in(one, each) for each in other._opened)]
        theirs = [one for one in other._opened if any(_lies_in(one, each) for each in self._opened)]
        wanted = mine + theirs
        everything, self._opened, other._opened = [*self._opened, *other._opened], wanted, []
        self.lost = tuple(dict.fromkeys((*self.lost, *other.lost)))
        for one in everything:
            if not any(one is kept for kept in wanted):
                os.close(one.descriptor)


class Roots(NamedTuple):
    """What is allowed lies below one directory of each of these sets. No set: nothing is."""

    sets: tuple[tuple[Root, ...], ...] = ()

    @classmethod
    def of(cls, *paths: Path | str) -> Roots:
        """One set, opened now, and to be closed. One that is not there allows nothing."""
        return cls((_all_or_none(map(Root.of, paths)),))

    @classmethod
    def named(cls, *paths: Path | str) -> Roots:
        """One set, of what is at these paths at each request, following no link."""
        return cls((tuple(Root.of_record(str(path), None) for path in paths),))

    @classmethod
    def of_descriptors(cls, descriptors: Iterable[int]) -> Roots:
        """One set, of directories that somebody else has opened. They are this object's from now on."""
        return cls((_all_or_none(map(Root.of_descriptor, descriptors)),))

    @classmethod
    def of_record(cls, paths: Sequence[Sequence[str]], kept: Sequence[Sequence[Any]] | None) -> Roots | None:
        """As a record has them; None if it has none. `kept`: of each what `Root.kept` gave; None in an old record."""
        if not paths:
            return None
        told = kept if kept is not None else [[None] * len(one) for one in paths]
        return cls(
            tuple(
                tuple(Root.of_record(str(path), row) for path, row in zip(one, rows, strict=True))
                for one, rows in zip(paths, told, strict=True)
            )
        )

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """The path of each."""
        return tuple(tuple(root.path for root in one) for one in self.sets)

    @property
    def kept(self) -> tuple[tuple[tuple[int, int, str] | None, ...], ...]:
        """What a record keeps of each beside that."""
        return tuple(tuple(root.kept for root in one) for one in self.sets)

    def recorded(self) -> Roots:
        """The same directories, as a record knows them: nothing of them is open."""
        return Roots(tuple(tuple(Root.of_record(root.path, root.kept) for root in one) for one in self.sets))

    def held(self) -> Roots:
        """The same directories, open until these are closed. Raises: OSError: as `allowed`."""
        one = iter(_all_or_none(root.held() for roots in self.sets for root in roots))
        return Roots(tuple(tuple(next(one) for _ in roots) for roots in self.sets))

    def within(self, other: Roots | None) -> Roots:
        """What these and the others allow."""
        return self if other is None else Roots(tuple(dict.fromkeys((*other.sets, *self.sets))))

    def close(self) -> None:
        """Close those that are open."""
        for one in self.sets:
            for root in one:
                root.close()

    def allowed(self) -> Allowed:
        """As they are just now. Raises: OSError: no descriptor is free, or no memory."""
        first, *others = self.sets or ((),)
        allowed = Allowed(first)
        try:
            for roots in others:
                with Allowed(roots) as other:
                    allowed.keep_what_lies_in(other)
        except BaseException:
            allowed.close()
            raise
        return allowed


def _all_or_none(opening: Iterator[Root]) -> tuple[Root, ...]:
    made: list[Root] = []
    try:
        made.extend(opening)
    except BaseException:
        for root in made:
            root.close()
        raise
    return tuple(made)


def _path_that_leads_to(descriptor: int) -> str | None:
    """What the system calls an open directory, if that name leads to it.

    It does not where the directory was removed, where another file system is mounted over it, and where its own was
    unmounted lazily: that one's top directory is then called `/`.

    Raises:
        OSError: it is not the directory that keeps the system from saying so.
    """
    for _ in range(_TRIES):
        path = path_of(descriptor)
        try:
            if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor)):  # noqa: PTH116 (strings)
                return path
        except OSError as error:
            raise_if_of_the_process(error)
    return None


def is_below(path: str, root: str) -> bool:
    """Whether a resolved path is a root's or that of something below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def _lies_in(one: Open, other: Open) -> bool:
    """Whether a root is another one, or is found below it: by the directory itself and not by its name alone."""
    if not is_below(one.path, other.path):
        return False
    try:
        found = walked(other.descriptor, one.path[len(other.path.rstrip("/")) :].split("/"))
    except OSError as error:
        raise_if_of_the_process(error)
        return False
    try:
        mine, theirs = os.fstat(one.descriptor), os.fstat(found)
        return os.path.samestat(mine, theirs)
    except OSError:  # a network file system that is gone
        return False
    finally:
        os.close(found)
