"""Where matplotlib's figures go in a kernel that another Jupyter client owns: to the notebook.

Is: what ipykernel does by the variable MPLBACKEND, without the variable: the environment of a kernel is the same
whoever starts it. Is not: for a session of our own, where figures are drawn on request alone. A courtesy.
Above: `in_kernel/launch.py`. Below: the standard library, matplotlib_inline once matplotlib is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

LIBRARY: Final = "matplotlib"
INLINE: Final = "module://matplotlib_inline.backend_inline"


def show_figures_inline() -> None:
    """From now on figures of a cell are shown at its end, unless the environment names another backend."""
    if "MPLBACKEND" in os.environ:
        return
    if LIBRARY in sys.modules:
        _choose(sys.modules[LIBRARY])
    else:
        sys.meta_path.insert(0, _Finder())


def _choose(library: Any) -> None:
    library.rcParams["backend"] = INLINE


class _Finder(importlib.abc.MetaPathFinder):
    """Waits for the import of the library, once."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find, with the choice made behind the library's own code."""
        del path, target
        if fullname != LIBRARY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _choose(module)

            loader.exec_module = exec_module
        return spec
