"""A context as a file names it, of which anybody may have written every byte."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from rlm_kernel_mcp.errors import InvalidInput
from rlm_kernel_mcp.notebook.form.names import TEXT_CHARS_MAX
from rlm_kernel_mcp.notebook.form.sources import NamedSource

SHA = "0" * 64
ROW: dict[str, Any] = {"name": "logs", "kind": "documents", "prefix": "", "sha256": SHA, "paths": ["a.log"]}


def named(directory: str | None = None, **fields: Any) -> NamedSource:
    return NamedSource.of({**ROW, **fields}, directory, is_first=True)


def test_paths_begin_where_they_did_or_in_the_directory_of_whoever_runs_it() -> None:
    assert named(working_dir="/data").source.working_dir == "/data"
    assert named("/mine", working_dir="/data").source.working_dir == "/mine"
    assert named().source.paths == ("a.log",)


def test_no_root_comes_from_the_file() -> None:
    """Those of whoever runs it hold, whatever it says."""
    assert named(roots=[["/"]], root_ids=None, home="/root").source.roots is None
    assert named(home="/root").source.home is None


@pytest.mark.parametrize("digest", [None, "", "0" * 63, "G" * 64, 5, ["0" * 64]], ids=range(6))
def test_a_source_without_a_hash_is_not_read(digest: object) -> None:
    with pytest.raises(InvalidInput, match="no sha256 of its context logs"):
        named(sha256=digest)


@pytest.mark.parametrize(
    "fields",
    [
        {"paths": []},
        {"paths": "a.log"},
        {"paths": [5]},
        {"paths": ["a"] * 10_001},
        {"paths": None},
        {"exclude": [None]},
        {"name": "not a name"},
        {"name": 5},
        {"prefix": 5},
        {"prefix": "x" * 201},
        {"working_dir": "here"},
        {"working_dir": 5},
        {"working_dir": "/a\0b"},
        {"working_dir": "/\ud800"},
        {"paths": None, "file": "../secret"},
        {"paths": None, "text": "x" * (TEXT_CHARS_MAX + 1)},
        {"paths": None, "text_base64": "!"},
    ],
    ids=range(17),
)
def test_what_names_no_source_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        named(**fields)


def test_a_text_in_the_file_is_the_source() -> None:
    """Also one that UTF-8 cannot have."""
    assert named(paths=None, text="abc").source.text == "abc"
    packed = base64.b64encode("a\udc80".encode("utf-8", "surrogatepass")).decode()
    assert named(paths=None, text_base64=packed).source.text == "a\udc80"


def test_a_long_text_is_looked_for_by_its_file_s_name() -> None:
    found = named("/mine", paths=None, file="rlm-context-00.txt")
    assert (found.file, found.source.paths) == ("rlm-context-00.txt", ("rlm-context-00.txt",))
    assert named().file == ""


@pytest.mark.parametrize("file", ["../secret", "a/b", "", 5, None], ids=range(5))
def test_what_is_no_name_of_a_file_is_not_looked_for(file: object) -> None:
    """Even where the row has paths, or a text, as well."""
    assert named(file=file).file == ""
    assert named(file=file, text="abc").source.text == "abc"
    assert named(file="there.txt", text="abc").file == ""
