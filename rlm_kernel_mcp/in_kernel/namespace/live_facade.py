"""The class of a facade some of whose names live in the real module.

Is: where such a name is set. Is not: which names a facade has (`in_kernel/courtesies/facades.py`). A courtesy.
Above: `in_kernel/courtesies/imports.py`, `in_kernel/display_text/values.py`, `in_kernel/display_text/type_writers.py`.
Below: the standard library.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

LIVE: Final[Mapping[str, frozenset[str]]] = {"sys": frozenset({"stdin", "stdout", "stderr"})}
"""Names that are looked up and set in the real module: `contextlib.redirect_stdout` changes them there, and a step
that sets `sys.stdout` means the one that `print` writes to."""


class LiveFacade(ModuleType):
    """The facade of a module with such names."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set a name where its users look for it."""
        module: Any = vars(self).get("__name__")
        if type(module) is str and name in LIVE.get(module, ()):
            setattr(sys.modules[module], name, value)
        else:
            super().__setattr__(name, value)


LiveFacade.__name__ = LiveFacade.__qualname__ = ModuleType.__name__  # so a session sees its type as that of any module
