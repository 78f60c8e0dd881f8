"""What is done right behind a library's own import, whenever that comes.

Is: a finder that waits for the library, and goes once it has come whole. Is not: what is done then; a wall. Above:
`hidden.py`, `in_kernel/channels/figures.py`. Below: the standard library.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def at_arrival(name: str, then: Callable[[ModuleType], None]) -> None:
    """Call `then` with this library once its code has run. An import that fails, or is interrupted, is not the last."""
    sys.meta_path.insert(0, _Arrival(name, then))


class _Arrival(importlib.abc.MetaPathFinder):
    """Changes no list of finders: another thread that goes through one for its own import would miss a finder."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name, self._then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find, with `then` behind the library's own code."""
        if fullname != self._name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._then(module)
                sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

            loader.exec_module = exec_module
        return spec
