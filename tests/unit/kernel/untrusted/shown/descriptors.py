"""Which descriptors a piece of code has opened and not closed, whatever other threads of the process do meanwhile."""

from __future__ import annotations

import os
from typing import Any

import pytest


def noted_descriptors(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """From now on those that were opened or duplicated by way of `os`, less those that were closed by way of it."""
    noted = set[int]()
    open_, dup, close = os.open, os.dup, os.close

    def opening(*arguments: Any, **options: Any) -> int:
        noted.add(descriptor := open_(*arguments, **options))
        return descriptor

    def doubling(descriptor: int) -> int:
        noted.add(made := dup(descriptor))
        return made

    def closing(descriptor: int) -> None:
        close(descriptor)
        noted.discard(descriptor)

    for name, function in (("open", opening), ("dup", doubling), ("close", closing)):
        monkeypatch.setattr(os, name, function)
    return noted
