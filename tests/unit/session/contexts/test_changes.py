"""Which changes of files are seen, and how many files one look asks for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.documents import Document
from rlm_kernel_mcp.context.roots.identity import identity_of
from rlm_kernel_mcp.session.contexts import changes
from rlm_kernel_mcp.session.contexts.changes import FileMarks


def marks_of(*paths: Path) -> FileMarks:
    """Of documents that were read just now."""
    return FileMarks.of(
        Document(path.name, 1, "utf-8", path=str(path), identity=identity_of(path.stat())) for path in paths
    )


def touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("change", [touched, replaced, Path.unlink, lambda path: path.write_text("longer")])
def test_a_file_that_is_another_by_now_is_seen_for_good(tmp_path: Path, change: object) -> None:
    """Also where it is put back."""
    path = tmp_path / "a.txt"
    path.write_text("a")
    marks = marks_of(path)
    assert not marks.look()
    assert callable(change)
    change(path)
    assert marks.look()
    path.write_text("a")
    assert marks.look()


def test_a_look_asks_for_a_few_and_each_comes_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(changes, "AT_A_TIME", 2)
    paths = [tmp_path / f"{number}.txt" for number in range(5)]
    for path in paths:
        path.write_text("a")
    marks = marks_of(*paths)
    touched(paths[4])
    assert [marks.look() for _ in range(3)] == [False, False, True]
    marks = marks_of(*paths)
    assert not any(marks.look() for _ in range(4))
    touched(paths[0])
    assert any(marks.look() for _ in range(3))
