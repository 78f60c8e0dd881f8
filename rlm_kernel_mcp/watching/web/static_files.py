"""The files of the live page itself, read once: nothing of a path that somebody asks for ever reaches the file system.

Is: a table of addresses. Is not: the files, which lie in a directory beside this one.
Above: `app.py`. Below: the file system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parents[1] / "static"
INDEX: Final = "index.html"
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Served:
    """A file, as it is served."""

    media_type: str
    data: bytes


def served_files(directory: Path = STATIC) -> Mapping[str, Served]:
    """By address: each file of a type that a page has, and the first page at `/`."""
    found = {
        f"/{path.relative_to(directory).as_posix()}": Served(TYPES[path.suffix], path.read_bytes())
        for path in sorted(directory.rglob("*"))
        if path.suffix in TYPES and path.is_file()
    }
    index = found.get(f"/{INDEX}")
    return found if index is None else {**found, "/": index}
