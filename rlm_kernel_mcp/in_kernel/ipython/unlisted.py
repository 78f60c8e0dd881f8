"""The list of modules that ipykernel's kernel makes at its start and ours leaves out.

Is: one walk over all modules, left out (decision 0033). Is not: a wall; `sys.modules` is untouched. Above: `kernel.py`.
Below: ipykernel.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Final

from ipykernel import ipkernel


class _NoModules(ModuleType):
    """The module `sys`, with no module in it."""

    modules: Final[dict[str, ModuleType]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(sys, name)


@contextlib.contextmanager
def no_modules_listed() -> Iterator[None]:
    """ipykernel lists the files of all modules for its debugger, which writes to 1.5 MB of pages that forks share."""
    vars(ipkernel)["sys"] = _NoModules("sys")
    try:
        yield
    finally:
        vars(ipkernel)["sys"] = sys
