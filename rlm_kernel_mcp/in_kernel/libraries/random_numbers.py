"""numpy's shared generator of random numbers, which a fork would inherit with its state.

Is: a state of its own for each kernel. Is not: `random.seed` of Python's own, which the fork server calls, nor
a generator that a step makes for itself, which asks the system each time. Above: `in_kernel/preload.py`,
`in_kernel/fork_server.py`. Below: the standard library; numpy where it has been preloaded.
"""

from __future__ import annotations

import sys
from typing import Any, Final

_seeds: Final[list[Any]] = []
"""`numpy.random.seed`, if numpy was preloaded."""


def note() -> None:
    """Look, once, whether numpy has been imported."""
    module: Any = sys.modules.get("numpy.random")
    if module is not None:
        _seeds[:] = [module.seed]


def reseed() -> None:
    """In a fork: otherwise all kernels would draw the same numbers."""
    for seed in _seeds:
        seed()
