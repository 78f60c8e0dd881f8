"""What a kernel lists of its scratch directory and sends of a file there: plain files, and nothing by way of a link."""

from __future__ import annotations

import base64
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rlm_kernel_mcp.context_wire import FILE_PART_BYTES, LIST_FILES, READ_FILE
from rlm_kernel_mcp.in_kernel.namespace import scratch_files
from rlm_kernel_mcp.in_kernel.namespace.scratch_files import DEPTH_MAX, file_requests, list_files, read_file
from tests.unit.kernel.untrusted.shown.descriptors import noted_descriptors


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir()
    (tmp_path / "secret").write_bytes(b"of the host")
    return made


def whole(scratch: Path, name: str) -> bytes:
    """A file, part by part."""
    data, last = b"", False
    while not last:
        part = read_file(str(scratch), {"name": name, "offset": len(data)})
        data, last = data + base64.b64decode(part["data"]), part["last"]
    return data


def test_files_are_listed_by_name_also_those_in_directories(scratch: Path) -> None:
    (scratch / "b" / "c").mkdir(parents=True)
    (scratch / "b" / "c" / "last").write_bytes(b"")
    (scratch / "b" / "z.csv").write_bytes(b"1,2\n")
    (scratch / "a.txt").write_bytes(b"abc")
    assert list_files(str(scratch)) == {
        "status": "ok",
        "files": [("a.txt", 3), ("b/c/last", 0), ("b/z.csv", 4)],
        "left_out": {},
    }


def test_what_is_no_plain_file_is_counted_and_not_opened(scratch: Path) -> None:
    """A FIFO would be waited for, and a link leads wherever code wants."""
    (scratch / "to a file").symlink_to(scratch.parent / "secret")
    (scratch / "to a directory").symlink_to(scratch.parent)
    (scratch / "to nothing").symlink_to("nothing")
    (scratch / "to itself").symlink_to("to itself")
    os.mkfifo(scratch / "fifo")
    assert list_files(str(scratch))["files"] == []
    assert list_files(str(scratch))["left_out"] == {"link": 4, "other": 1}


@pytest.mark.parametrize(
    "name",
    [
        "link",
        "linked/secret",
        "linked/scratch/file",
        "fifo",
        "directory",
        "",
        "/",
        "/etc/passwd",
        "..",
        "../secret",
        "directory/../../secret",
        "./file",
        "directory//file",
        "file/",
        "missing",
        "file/below",
        "a\0b",
        "x" * 5_000,
        "x/" * 3_000,
    ],
)
def test_no_name_leads_out_of_the_directory_or_to_what_is_no_file(scratch: Path, name: str) -> None:
    """Through a link that stands on the way neither."""
    (scratch / "file").write_bytes(b"x")
    (scratch / "directory").mkdir()
    (scratch / "link").symlink_to(scratch.parent / "secret")
    (scratch / "linked").symlink_to(scratch.parent)
    os.mkfifo(scratch / "fifo")
    with pytest.raises((OSError, ValueError)):
        read_file(str(scratch), {"name": name, "offset": 0})


@pytest.mark.parametrize("size", [0, 1, FILE_PART_BYTES - 1, FILE_PART_BYTES, FILE_PART_BYTES + 1])
def test_a_file_comes_in_parts_of_which_each_but_the_last_is_full(scratch: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (scratch / "file").write_bytes(data[:size])
    assert whole(scratch, "file") == data[:size]


def test_a_sparse_file_is_sent_as_what_it_reads_as(scratch: Path) -> None:
    """Who takes it out has the bound."""
    with (scratch / "sparse").open("wb") as file:
        file.truncate(3 * FILE_PART_BYTES)
    assert list_files(str(scratch))["files"] == [("sparse", 3 * FILE_PART_BYTES)]
    assert whole(scratch, "sparse") == bytes(3 * FILE_PART_BYTES)


def test_another_version_is_said_of_a_file_that_has_changed(scratch: Path) -> None:
    """Grown, or another file of the same name."""
    (scratch / "file").write_bytes(b"x")
    versions = {read_file(str(scratch), {"name": "file", "offset": 0})["version"]}
    with (scratch / "file").open("ab") as file:
        file.write(b"y")
    versions.add(read_file(str(scratch), {"name": "file", "offset": 0})["version"])
    (scratch / "other").write_bytes(b"xy")
    (scratch / "other").rename(scratch / "file")
    versions.add(read_file(str(scratch), {"name": "file", "offset": 0})["version"])
    assert len(versions) == 3


def test_a_part_behind_the_end_is_empty_and_the_last(scratch: Path) -> None:
    (scratch / "file").write_bytes(b"abc")
    part = read_file(str(scratch), {"name": "file", "offset": 9})
    assert (part["data"], part["last"]) == ("", True)


def test_names_of_any_bytes_are_listed_and_found_again(scratch: Path) -> None:
    """As Python hands them on: what becomes of them is decided elsewhere."""
    for name in (b"\x1b[2J", b"line\nend", b"\xff\xfe", "Größe \u202e".encode(), b"-rf", b" "):
        Path(os.fsdecode(os.fsencode(scratch) + b"/" + name)).write_bytes(name)
    listed = [name for name, _ in list_files(str(scratch))["files"]]
    assert sorted(map(os.fsencode, listed)) == sorted(whole(scratch, name) for name in listed)


def test_directories_have_a_depth_beyond_which_they_are_counted(scratch: Path) -> None:
    deep = scratch.joinpath(*["d"] * (DEPTH_MAX + 1))
    deep.mkdir(parents=True)
    (deep.parent / "file").write_bytes(b"")
    listed = list_files(str(scratch))
    assert listed["files"] == [("d/" * DEPTH_MAX + "file", 0)]
    assert listed["left_out"] == {"deep": 1}


def test_of_many_files_the_first_that_come_are_listed(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is a number, up to what is looked at."""
    for number in range(20):
        (scratch / f"{number:03}").write_bytes(b"")
    monkeypatch.setattr(scratch_files, "FILES_MAX", 5)
    assert [len(list_files(str(scratch))["files"]), list_files(str(scratch))["left_out"]] == [5, {"more": 15}]
    monkeypatch.setattr(scratch_files, "SEEN_MAX", 7)
    assert list_files(str(scratch))["left_out"] == {"more": 3}
    monkeypatch.setattr(scratch_files, "FILES_MAX", 100)
    monkeypatch.setattr(scratch_files, "NAMES_CHARS_MAX", 9)
    assert len(list_files(str(scratch))["files"]) == 3


@pytest.mark.parametrize("kind", ["links", "directories"])
def test_what_is_beyond_the_entries_that_are_looked_at_is_said_whatever_they_are(
    scratch: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Directories without end are no way to keep a kernel at it either."""
    for number in range(9):
        if kind == "links":
            (scratch / str(number)).symlink_to("nothing")
        else:
            (scratch / str(number)).mkdir()
    monkeypatch.setattr(scratch_files, "SEEN_MAX", 7)
    listed = list_files(str(scratch))
    assert (listed["files"], listed["left_out"]["more"]) == ([], 1)


def test_a_directory_that_cannot_be_looked_into_is_counted(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files would be missing, and nobody would know."""
    (scratch / "d").mkdir()
    (scratch / "d" / "file").write_bytes(b"")
    opened = os.open

    def refused(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if path == "d":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refused)
    listed = list_files(str(scratch))
    assert (listed["files"], listed["left_out"]) == ([], {"closed": 1})


def test_a_directory_that_goes_meanwhile_is_passed_over(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code goes on writing: what was a directory may be a link by now."""
    (scratch / "d").mkdir()
    (scratch / "d" / "file").write_bytes(b"")
    opened = os.open

    def swapped(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if path == "d" and (scratch / "d").is_dir() and not (scratch / "d").is_symlink():
            (scratch / "d").rename(scratch.parent / "away")
            (scratch / "d").symlink_to(scratch.parent)
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", swapped)
    listed = list_files(str(scratch))
    assert (listed["files"], listed["left_out"]) == ([], {"gone": 1})


def test_nothing_is_left_open(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code may hold all descriptors but a few."""
    (scratch / "a" / "b").mkdir(parents=True)
    (scratch / "a" / "b" / "file").write_bytes(b"x")
    opened = noted_descriptors(monkeypatch)
    list_files(str(scratch))
    whole(scratch, "a/b/file")
    with pytest.raises(OSError, match="No such file"):
        read_file(str(scratch), {"name": "a/missing/file", "offset": 0})
    assert opened == set()


def test_its_requests_find_the_directory_once_the_kernel_has_one(scratch: Path) -> None:
    """They are made before that."""
    known = threading.local()
    requests = file_requests(lambda: known.scratch)
    known.scratch = str(scratch)
    (scratch / "file").write_bytes(b"x")
    assert requests[LIST_FILES]({}, None)["files"] == [("file", 1)]
    assert requests[READ_FILE]({"name": "file", "offset": 0}, None)["last"] is True
