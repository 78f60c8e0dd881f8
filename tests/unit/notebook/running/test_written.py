"""What `notebook run --output` writes is there whole, or what was there before is."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.running.rerun import written

NOTEBOOK: dict[str, Any] = {"cells": []}


def test_it_takes_the_place_of_what_was_there_with_the_same_mode(tmp_path: Path) -> None:
    path = tmp_path / "out.ipynb"
    path.write_text("before")
    path.chmod(0o640)
    written(NOTEBOOK, [], path)
    assert path.read_text().startswith("{")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["out.ipynb"]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "out.ipynb").symlink_to(tmp_path / "there" / "real.ipynb")
    written(NOTEBOOK, [], tmp_path / "out.ipynb")
    assert (tmp_path / "out.ipynb").is_symlink()
    assert (tmp_path / "there" / "real.ipynb").read_text().startswith("{")


def test_on_a_disk_that_is_full_what_was_there_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.ipynb"
    path.write_text("before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidInput, match="No space left on device"):
        written(NOTEBOOK, [], path)
    assert path.read_text() == "before"
    assert [one.name for one in tmp_path.iterdir()] == ["out.ipynb"]


def test_a_place_that_is_no_file_is_written_to(tmp_path: Path) -> None:
    """Such as /dev/stdout."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        written(NOTEBOOK, [], pipe)
        assert os.read(reader, 100).startswith(b"{")
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
