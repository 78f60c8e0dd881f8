"""What a kernel says of its files is names, sizes and parts of bytes, or an error in which nothing of it acts."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlm_kernel_mcp.context_wire import FILE_PART_BYTES
from rlm_kernel_mcp.errors import KernelDied
from rlm_kernel_mcp.kernel.untrusted.shown.files import (
    FILES_MAX,
    NAME_CHARS_MAX,
    FilePart,
    ScratchFile,
    files_in,
    part_in,
)

FULL = base64.b64encode(bytes(FILE_PART_BYTES)).decode()


def listed(files: object, left_out: object = None, **more: object) -> dict[str, Any]:
    return {"status": "ok", "files": files, "left_out": {} if left_out is None else left_out, **more}


def part(data: object = "eA==", version: object = "1-2-3", last: object = True) -> dict[str, Any]:
    return {"status": "ok", "data": data, "version": version, "last": last}


def test_files_are_names_and_sizes_in_order_each_name_once() -> None:
    """A name is any text: nobody opens anything by it."""
    found = files_in(listed([["b", 2], ["../../x\x1b\n", 0], ["b", 3]], {"link": 2, "other": 0, "unknown": 7}))
    assert found.files == (ScratchFile("../../x\x1b\n", 0), ScratchFile("b", 3))
    assert found.left_out == {"link": 2, "more": 1}


@pytest.mark.parametrize(
    "row",
    [
        None,
        3,
        "b",
        [],
        ["b"],
        ["b", 1, 2],
        [1, 1],
        ["b", "1"],
        ["b", -1],
        ["b", True],
        ["b", 1.5],
        ["b", 1 << 60],
        ["", 1],
    ],
)
def test_a_row_that_is_no_file_is_counted(row: object) -> None:
    found = files_in(listed([row, ["a", 1]]))
    assert (found.files, found.left_out) == ((ScratchFile("a", 1),), {"more": 1})


def test_a_million_files_are_the_first_ones_and_a_number() -> None:
    found = files_in(listed([[str(number), 0] for number in range(100_000)]))
    assert (len(found.files), found.left_out) == (FILES_MAX, {"more": 100_000 - FILES_MAX})
    assert files_in(listed([["x" * (NAME_CHARS_MAX + 1), 0]])).files == ()


@pytest.mark.parametrize(
    "content",
    [{}, {"status": "ok"}, listed(None), listed({}), listed([], []), {**listed([]), "status": "error"}, {"files": []}],
)
def test_a_kernel_that_lists_nothing_is_said_to(content: dict[str, Any]) -> None:
    with pytest.raises(KernelDied, match="did not list its files"):
        files_in(content)


def test_the_words_of_its_exception_are_safe_to_show() -> None:
    """They go to a person's terminal."""
    with pytest.raises(KernelDied) as refused:
        part_in({"status": "error", "ename": "OSError", "evalue": "\x1b[2Jgone\u202e" + "x" * 1_000})
    assert refused.value.message.startswith("The kernel did not send the file: \\x1b[2Jgone\\u202exx")
    assert len(refused.value.message) < 300


def test_a_part_is_bytes_in_their_one_spelling() -> None:
    assert part_in(part()) == FilePart("eA==", "1-2-3", last=True)
    assert part_in(part(data="")) == FilePart("", "1-2-3", last=True)
    assert part_in(part(data=FULL, last=False)).data == FULL


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (part(data=None), "did not send the file"),
        (part(data=b"x"), "did not send the file"),
        (part(version=None), "did not send the file"),
        (part(version=""), "no part of a file"),
        (part(version="1" * 100), "no part of a file"),
        (part(version="\x1b[2J"), "no part of a file"),
        (part(version="٣"), "no part of a file"),
        (part(last=None), "no part of a file"),
        (part(last=1), "no part of a file"),
        (part(data="!"), "no base64"),
        (part(data="eA==\n"), "no base64"),
        (part(data="é"), "no base64"),
        (part(data=FULL + "AAAA"), "no part of a file"),
        (part(data=base64.b64encode(bytes(FILE_PART_BYTES + 1)).decode()), "sent 1,048,577 bytes"),
        (part(data="", last=False), "sent 0 bytes"),
        (part(data="eA==", last=False), "sent 1 bytes"),
    ],
)
def test_what_is_no_part_ends_the_taking_of_its_file(content: dict[str, Any], told: str) -> None:
    """One byte at a time, without end, neither."""
    with pytest.raises(KernelDied, match=told):
        part_in(content)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["status", "files", "left_out", "data", "version", "last", "evalue"]), _json))
def test_whatever_comes_is_files_or_an_error_of_ours(content: dict[str, Any]) -> None:
    for said in (content, {**content, "status": "ok"}):
        for read in (files_in, part_in):
            with suppress(KernelDied):
                read(said)
