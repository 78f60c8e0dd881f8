"""What a notebook's kernel is given of what the notebook names: nothing outside the roots, and nothing else inside."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any, Final

import pytest

from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.errors import RequestRefused
from rlm_kernel_mcp.notebook.form.names import VARIABLE
from rlm_kernel_mcp.notebook.form.sources import NamedSource
from rlm_kernel_mcp.notebook.running.filling import NOT_THERE, NotebookFiller
from rlm_kernel_mcp.session.contexts.means import Beside
from rlm_kernel_mcp.settings import load_settings

pytestmark = pytest.mark.anyio
SECRET: Final = b"the secret\n"
SHA: Final = hashlib.sha256(SECRET).hexdigest()
OTHER: Final = "0" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What may be read: a file of the text, and links out of it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(SECRET)
    made = tmp_path / "root"
    made.mkdir()
    (made / "mine.txt").write_bytes(SECRET)
    (made / "link.txt").symlink_to(tmp_path / "outside" / "secret.txt")
    (made / "outside").symlink_to(tmp_path / "outside")
    return made


async def given(root: Path, **row: Any) -> bytes:
    """The bytes that a kernel would be handed of a context that a notebook names."""
    settings = load_settings(root, {"HOME": str(root), "RLM_CONTEXT_ROOTS": str(root)})
    named = {"name": "context", "kind": "documents", "prefix": "", "sha256": SHA, **row}
    source = NamedSource.of(named, str(root), is_first=True)
    filler = NotebookFiller(root / "n.ipynb", settings, str(root))
    with await filler._read(source, Room(1 << 30), Beside(), copy=False) as found:
        if found.data is not None:
            return found.data
        assert found.descriptor is not None
        return os.pread(found.descriptor, found.byte_count, 0)


async def test_a_source_below_a_root_with_its_hash_is_given(root: Path) -> None:
    assert await given(root, paths=["mine.txt"]) == SECRET
    assert await given(root, paths=[str(root / "mine.txt")], working_dir="/nowhere") == SECRET
    assert await given(root, kind="text", text=SECRET.decode()) == SECRET


@pytest.mark.parametrize("digest", [SHA, OTHER], ids=["with its hash", "without"])
@pytest.mark.parametrize(
    "path",
    ["{}/outside/secret.txt", "../outside/secret.txt", "link.txt", "outside/secret.txt", "outside", "outside/*.txt"],
    ids=range(6),
)
async def test_nothing_outside_is_given_whatever_the_notebook_says(root: Path, path: str, digest: str) -> None:
    """By its path, by a link, by a directory, or by where it says it began: even to who has it already."""
    with pytest.raises(RequestRefused):
        await given(root, paths=[path.format(root.parent)], sha256=digest, working_dir=str(root.parent / "outside"))


@pytest.mark.parametrize("path", ["mine.txt", "*.txt", "."], ids=range(3))
async def test_nothing_inside_is_given_whose_hash_the_notebook_does_not_know(root: Path, path: str) -> None:
    """Its writer has not read it."""
    with pytest.raises(RequestRefused, match="another one"):
        await given(root, paths=[path], sha256=OTHER, exclude=["link.txt"])


async def test_a_long_text_is_given_from_its_file_as_the_text_that_it_was(root: Path) -> None:
    """With the same hash, from whichever root has it; a file of another text is none."""
    assert await given(root, kind="text", file="mine.txt") == SECRET
    with pytest.raises(RequestRefused, match="another one"):
        await given(root, kind="text", file="mine.txt", sha256=OTHER)
    with pytest.raises(RequestRefused, match="no such file"):
        await given(root, kind="text", file="rlm-context-00.txt")
    with pytest.raises(RequestRefused):
        await given(root, kind="text", file="link.txt")


async def test_a_file_that_can_have_no_such_text_is_refused_as_any_other(root: Path) -> None:
    """A name that no file can have, and bytes that are no text: the kernel starts, and its first cell says it."""
    for name in ("n" * 300, "a\0b", "\ud800"):
        with pytest.raises(RequestRefused):
            await given(root, kind="text", file=name)
    data = b"\xff\xfe\0\x81"
    (root / "bytes").write_bytes(data)
    with pytest.raises(RequestRefused, match="no text in UTF-8"):
        await given(root, kind="text", file="bytes", sha256=hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    "path",
    ["mine.txt", "missing.txt", "link.txt", "/etc/passwd", "."],
    ids=["another", "missing", "link", "outside", "directory"],
)
async def test_a_kernel_is_told_the_same_of_whatever_it_is_not_given(
    root: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A notebook whose outputs come back to its writer says nothing of a file: not its hash, nor that it is there.

    Whoever started the kernel has the reason in the log.
    """
    settings = load_settings(root, {"HOME": str(root), "RLM_CONTEXT_ROOTS": str(root)})
    row = {"name": "logs", "kind": "documents", "prefix": "", "sha256": OTHER, "paths": [path]}
    source = NamedSource.of(row, str(root), is_first=True)
    filler = NotebookFiller(root / "n.ipynb", settings, str(root))
    with caplog.at_level(logging.WARNING), pytest.raises(RequestRefused) as refused:
        await filler._payload(source, Room(1 << 30), Beside(), copy=False)
    assert refused.value.message == NOT_THERE
    assert f"The context logs ({path}, sha256 {OTHER}) is not loaded: " in caplog.text


def test_a_kernel_is_filled_where_the_environment_names_a_notebook(root: Path) -> None:
    """And relative paths begin in the one directory that its owner gives."""
    environment = {"HOME": str(root)}
    assert NotebookFiller.of(root, environment) is None
    found = NotebookFiller.of(root, {**environment, VARIABLE: "n.ipynb"})
    assert found is not None
    assert (found._path, found._directory) == (root / "n.ipynb", None)
    found = NotebookFiller.of(root, {**environment, VARIABLE: "n.ipynb", "RLM_CONTEXT_ROOTS": str(root)})
    assert found is not None
    assert found._directory == str(root)
