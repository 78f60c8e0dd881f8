"""Requests to an object store by way of fsspec, and what its packages' errors become.

Is: one object made, read, listed or removed. Is not: what an object means (`objects.py`). Above: `objects.py`. Below: a
file system of fsspec, which is handed over.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

BEGINNINGS: Final = 128
BEGINNING_BYTES: Final = 1 << 18
"""Small objects are read once, whole: each read is a request."""


class ObjectRequests:
    """Names are those below `root`."""

    def __init__(self, files: Any, root: str) -> None:
        self.files = files
        self._root = root.rstrip("/")
        self.beginnings = OrderedDict[str, bytes]()

    def path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def beginning(self, path: str) -> bytes:
        """The first bytes of an object, which never change; of a small one that is all."""
        if path not in self.beginnings:
            self.beginnings[path] = bytes(self.asked(self.files.cat_file, path, start=0, end=BEGINNING_BYTES))
            while len(self.beginnings) > BEGINNINGS:
                self.beginnings.popitem(last=False)
        return self.beginnings[path]

    def create(self, name: str, data: bytes) -> bool:
        """Whether it was made: there was none."""
        try:
            self.asked(self.files.pipe_file, self.path(name), data, mode="create")
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.asked(self.files.rm_file, self.path(name))

    def exists(self, name: str) -> bool:
        try:
            self.asked(self.files.info, self.path(name))
        except FileNotFoundError:
            return False
        return True

    def names(self, directory: str) -> list[str]:
        return [name for name, _ in self.listed(directory)]

    def listed(self, directory: str) -> list[tuple[str, int]]:
        """Names and sizes of what is in a directory; those of further directories too."""
        try:
            found = self.asked(self.files.ls, self.path(directory), detail=True)
        except FileNotFoundError:
            return []
        rows = ((str(row["name"]).rstrip("/"), int(row["size"] or 0)) for row in found)
        own = self.path(directory).rpartition("/")[2]
        return [(name, size) for path, size in rows if (name := path.rpartition("/")[2]) != own]

    def asked(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What fsspec answers. Its packages raise what their services' libraries do: that becomes an OSError."""
        try:
            return function(*arguments, **options)
        except OSError:
            raise
        except Exception as error:
            raise OSError(errno.EIO, f"the object store's client raised {type(error).__name__}") from error
