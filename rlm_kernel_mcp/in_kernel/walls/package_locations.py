"""The real locations of packages that are installed as links, by .pth files or in editable mode. A wall.

Is: the paths outside Python's own directories that a kernel must see, because a module imported from there reads its
files later. Is not: access to what nobody imported: other code beside an editable package stays out of view.
Above: `in_kernel/launch.py`, `in_kernel/fork_server.py`. Below: `plan.py`. Call it when everything is imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from rlm_kernel_mcp.in_kernel.walls.plan import installation_paths, package_directories


@cache
def outside_places(every_package: bool) -> tuple[str, ...]:
    """The directories of packages, and the files of single modules, that lie outside `installation_paths`.

    `every_package`: also what is linked into the directories of installed packages and not imported yet.
    """
    inside = tuple(os.path.realpath(path) + os.sep for path in installation_paths())
    places: dict[str, None] = {}
    for path in dict.fromkeys([*_imported(), *(_linked() if every_package else ())]):
        # Both ends of a link: imports use the path as written, and Landlock sees where it leads.
        for place in (path, os.path.realpath(path)):
            if not (os.path.realpath(place) + os.sep).startswith(inside) and os.access(place, os.R_OK):
                places.setdefault(place)
    return tuple(places)


def _imported() -> Iterator[str]:
    """For each imported module, its package's directory or its file."""
    # A list: another thread may import while this one iterates.
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and Path(file).is_absolute():
            yield from _places(file, in_package="." in name or hasattr(module, "__path__"))


def _linked() -> Iterator[str]:
    """For each entry of the directories of installed packages, its real location."""
    for directory in package_directories():
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir():
                    yield entry.path
                    yield from _places(f"{entry.path}/__init__.py", in_package=True)
                else:
                    yield entry.path


def _places(file: str, *, in_package: bool) -> Iterator[str]:
    """A package's directory as written and, if its file is a link, as resolved; or the file of a single module."""
    if not in_package:
        yield file
        return
    yield os.path.dirname(file)  # noqa: PTH120 (strings, as in `sys.modules`: there are a thousand)
    if os.path.islink(file):  # noqa: PTH114
        yield os.path.dirname(os.path.realpath(file))  # noqa: PTH120
