"""What libraries find out at their import, and would find out wrongly, or could not, in a kernel.

Is: matplotlib's fonts and settings, and that pandas has no terminal here. Is not: a wall; nor what a person's own
files say of these libraries: a kernel has none of them. Above: `in_kernel/preload.py`. Below: the standard library;
the libraries, where they have been preloaded.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

FIGURES: Final = "matplotlib"
FONTS: Final = "matplotlib.font_manager"
DIRECTORY: Final = "MPLCONFIGDIR"
"""The variable that says where matplotlib reads its settings and keeps its list of fonts."""
PROGRAMS: Final = "PATH"
COLUMNS: Final = 20
"""What pandas itself sets where there is no terminal; here it is imported before there is a shell to ask."""


@contextmanager
def own_settings(modules: Iterable[str]) -> Iterator[None]:
    """Import these meanwhile: matplotlib then reads and writes an empty directory, which is gone afterwards.

    It lists the fonts at its import, and a kernel could nowhere keep the list.
    """
    if all(name.partition(".")[0] != FIGURES for name in modules):
        yield
    else:
        with tempfile.TemporaryDirectory(prefix="rlm-fonts-") as directory, changed(DIRECTORY, directory):
            with changed(PROGRAMS, directory):
                _find_fonts()
            yield
    figures, pandas = _imported(FIGURES), _imported("pandas")
    if figures is not None:
        figures.rcParams["backend"] = "agg"  # no window can be opened
    if pandas is not None:
        pandas.set_option("display.max_columns", COLUMNS)


@contextmanager
def changed(variable: str, value: str) -> Iterator[None]:
    """Meanwhile a variable of this process's environment has another value."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _find_fonts() -> None:
    """Have matplotlib find those that it brings along, and none of the system's, which no kernel can read.

    A desktop has thousands, and reading them takes many seconds. It looks for them with the program `fc-list`, which is
    not found here, and in directories.
    """
    walk = os.walk
    try:
        library: Any = importlib.import_module(FIGURES)
        own = Path(library.get_data_path())
        vars(os)["walk"] = lambda top, **named: walk(top, **named) if Path(top).is_relative_to(own) else iter(())
        importlib.import_module(FONTS)
    except ImportError:
        return  # it is not installed
    finally:
        vars(os)["walk"] = walk


def _imported(name: str) -> Any:
    return sys.modules.get(name)
