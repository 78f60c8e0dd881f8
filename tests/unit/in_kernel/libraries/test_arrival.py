"""What is done behind a library's own import."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

import pytest

from rlm_kernel_mcp.in_kernel.libraries.arrival import at_arrival

NAME = "library_that_arrives"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its file, and finders that the test may change."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / f"{NAME}.py"
    file.write_text("there = True\n")
    yield file
    sys.modules.pop(NAME, None)


def test_it_is_done_once_when_the_library_has_come_whole(library: Path) -> None:
    """An import that failed, or was interrupted, was not the last."""
    came: list[ModuleType] = []
    finders = list(sys.meta_path)
    at_arrival(NAME, came.append)
    library.write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        importlib.import_module(NAME)
    assert came == []
    library.write_text("there = True\n")
    importlib.invalidate_caches()
    assert importlib.import_module(NAME).there
    assert came == [sys.modules[NAME]]
    assert sys.meta_path == finders


def test_another_thread_that_goes_through_the_finders_meanwhile_misses_none(library: Path) -> None:
    """Neither while the library is looked for, nor once it has come: the list that it goes through stays as it is."""
    del library
    seen: list[list[object]] = []

    class Onlooker(MetaPathFinder):
        def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
            del path, target
            if fullname == NAME:
                seen.append(list(sys.meta_path))

    sys.meta_path.insert(0, Onlooker())
    at_arrival(NAME, lambda module: None)
    gone_through, whole = sys.meta_path, list(sys.meta_path)
    importlib.import_module(NAME)
    assert seen == [whole]
    assert gone_through == whole
