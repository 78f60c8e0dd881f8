"""Files are written where there were none, below the directory that a person names, and through no link."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rlm_kernel_mcp.commands.taking.place import TakingPlace
from tests.unit.kernel.untrusted.shown.descriptors import noted_descriptors


@pytest.fixture
def place(tmp_path: Path) -> Iterator[TakingPlace]:
    with closing(TakingPlace(tmp_path / "out" / "new")) as made:
        yield made


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "new"


def write(place: TakingPlace, *path: str, data: bytes = b"data", is_whole: bool = True) -> None:
    with place.new_file(path) as target:
        target.write(data)
        target.is_whole = is_whole


def test_a_file_and_its_directories_are_made(place: TakingPlace, out: Path) -> None:
    """No file is a program."""
    write(place, "file")
    write(place, "a", "b", "file", data=b"x" * 3_000_000)
    write(place, "a", "other")
    assert (out / "file").read_bytes() == b"data"
    assert (out / "a" / "b" / "file").stat().st_size == 3_000_000
    assert not stat.S_IMODE((out / "file").stat().st_mode) & 0o111


def test_nothing_is_written_over(place: TakingPlace, out: Path) -> None:
    (out / "file").write_bytes(b"the person's")
    with pytest.raises(FileExistsError):
        write(place, "file")
    assert (out / "file").read_bytes() == b"the person's"


@pytest.mark.parametrize("to", ["file", "missing"])
def test_a_link_in_the_place_of_a_file_is_not_followed(place: TakingPlace, out: Path, tmp_path: Path, to: str) -> None:
    (tmp_path / "file").write_bytes(b"the person's")
    (out / "link").symlink_to(tmp_path / to)
    with pytest.raises(FileExistsError):
        write(place, "link")
    assert (tmp_path / "file").read_bytes() == b"the person's"
    assert not (tmp_path / "missing").exists()


def test_a_link_in_the_place_of_a_directory_is_not_followed(place: TakingPlace, out: Path, tmp_path: Path) -> None:
    """Nor is a file taken for one."""
    (out / "a").symlink_to(tmp_path)
    (out / "b").write_bytes(b"")
    for directory in ("a", "b"):
        with pytest.raises(NotADirectoryError):
            write(place, directory, "file")
    assert not (tmp_path / "file").exists()


def test_a_file_that_does_not_come_whole_does_not_stay(place: TakingPlace, out: Path) -> None:
    """Also where an exception ends it, and where the person has removed it."""
    write(place, "half", is_whole=False)
    with pytest.raises(TypeError), place.new_file(["cut off"]) as target:
        target.write("no bytes")  # type: ignore[arg-type]
    with place.new_file(["gone"]):
        (out / "gone").unlink()
    assert list(out.iterdir()) == []


def test_nothing_is_left_open(place: TakingPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = noted_descriptors(monkeypatch)
    write(place, "a", "b", "file")
    with pytest.raises(FileExistsError):
        write(place, "a", "b", "file")
    assert opened == set()
