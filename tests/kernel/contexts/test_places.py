"""A byte, a character and a line of a session's documents, each from another, by the files of now."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlm_kernel_mcp.context.loader.places import Place
from rlm_kernel_mcp.session.contexts.given import Given, Options
from rlm_kernel_mcp.session.evidence.documents import Documents
from rlm_kernel_mcp.session.evidence.passages import OpenDocument
from rlm_kernel_mcp.session.registry import Registry
from tests.kernel.contexts.conftest import SMALL
from tests.losses import lose_kernel
from tests.sessions import AMPLE, SessionDriver, open_registry

pytestmark = pytest.mark.anyio

ODD = "x\r\x0b\u2028\x1c MARK Größe 日本 😀\n\n"


@pytest.fixture
def registry(mapping_registry: Registry) -> Registry:
    """One that has what is large read by a loader."""
    return mapping_registry


async def opened(registry: Registry, text: str | None = None, *paths: Path) -> SessionDriver:
    names = [str(path) for path in paths] or None
    report = await registry.init_context(context_text=text, context_paths=names, limits=AMPLE)
    return SessionDriver(registry, report.session_id)


@contextmanager
def document(session: SessionDriver, name: str, context: int = 0) -> Iterator[tuple[OpenDocument | None, Documents]]:
    """One of them, None if it is not there any more, as a check of citations opens it."""
    contexts = session.session.contexts.contexts
    with Documents(contexts) as documents:
        listed = documents.find(contexts.all[context].name, name)
        assert listed is not None
        with documents.open(listed) as found:
            yield found, documents


def place(session: SessionDriver, name: str, *, byte: int | None = None, char: int = 0, context: int = 0) -> Place:
    with document(session, name, context) as (found, _):
        assert found is not None
        return found.at_char(char) if byte is None else found.at_byte(byte)


def marks(path: Path) -> list[tuple[int, int]]:
    """Line and byte of each mark, as grep counts them."""
    command = ["grep", "-abno", "MARK", str(path)]
    told = subprocess.run(command, capture_output=True, check=True, timeout=60, env={"LC_ALL": "C"}).stdout
    rows = (line.split(b":") for line in told.splitlines())
    return [(int(line), int(byte)) for line, byte, *_ in rows]


@pytest.mark.parametrize("lines", [5, 5_000, 400_000], ids=["one block", "some blocks", "by a loader"])
async def test_lines_are_grep_s_and_characters_are_the_kernel_s(
    registry: Registry, directory: Path, lines: int
) -> None:
    """Of what the host has read and of what a loader has, alone and beside others."""
    (directory / "odd.txt").write_text(ODD * lines, newline="")
    (directory / "a.txt").write_text("before\n")
    session = await opened(registry, None, directory)
    found = marks(directory / "odd.txt")
    assert len(found) == lines
    for line, byte in (found[0], found[lines // 2], found[-1]):
        at = place(session, "odd.txt", byte=byte)
        assert (at.byte, at.line) == (byte, line)
        assert place(session, "odd.txt", char=at.char) == at
        code = f"t = documents['odd.txt']; t[{at.char}:{at.char + 4}], t.count('\\n', 0, {at.char})"
        assert (await session.ok(code)).result == repr(("MARK", line - 1))
    with pytest.raises(IndexError):
        place(session, "a.txt", char=8)


async def test_an_inline_text_and_an_added_one_have_places(registry: Registry, directory: Path) -> None:
    """The first by the stored text, the second under the name that it was given."""
    session = await opened(registry, ODD * 9_000)
    found = place(session, "context", char=8_500 * len(ODD))
    assert found == Place(8_500 * len(ODD.encode()), 8_500 * len(ODD), 17_001)
    (directory / "b.txt").write_text("one\ntwo\n")
    await registry.add_context(session.session_id, Given(paths=(str(directory),)), Options("more"))
    assert place(session, "more/b.txt", char=5, context=1) == Place(5, 5, 2)
    await registry.add_context(session.session_id, Given(json_text='{"a": 1}'), Options("parsed"))
    assert place(session, "parsed", char=5, context=2) == Place(5, 5, 1)


async def test_a_restored_session_has_places_as_before(tmp_path: Path, directory: Path) -> None:
    """After a loss, and in another server once it has loaded the context."""
    (directory / "odd.txt").write_text(ODD * 50, newline="")
    async with open_registry(tmp_path / "state", policy=SMALL, RLM_CONTEXT_ROOTS=str(directory)) as registry:
        session = await opened(registry, None, directory / "odd.txt")
        before = place(session, "odd.txt", char=31 * len(ODD))
        await lose_kernel(session)
        await session.run("1")
        assert place(session, "odd.txt", char=31 * len(ODD)) == before
    async with open_registry(tmp_path / "state", RLM_CONTEXT_ROOTS=str(directory)) as other:
        again = SessionDriver(other, session.session_id)
        await again.run("1")
        assert place(again, "odd.txt", char=31 * len(ODD)) == before


async def test_what_cannot_be_read_as_it_was_is_told(registry: Registry, directory: Path, tmp_path: Path) -> None:
    """A file that is cut off, is gone, or lies outside by now; of a compressed one the bytes are its text's."""
    for name in ("cut.txt", "gone.txt", "out/out.txt"):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("line\n" * 9)
    (directory / "packed.txt.gz").write_bytes(gzip.compress(b"line\n" * 9))
    session = await opened(registry, None, directory)
    # In a thread, as always: a loader unpacks it, which this loop has to start.
    assert await asyncio.to_thread(place, session, "packed.txt.gz", byte=40) == Place(40, 40, 9)
    (directory / "packed.txt.gz").unlink()
    session = await opened(registry, None, directory)
    assert place(session, "cut.txt", byte=40) == Place(40, 40, 9)
    os.truncate(directory / "cut.txt", 12)
    (directory / "gone.txt").unlink()
    shutil.move(directory / "out", tmp_path / "out")
    (directory / "out").symlink_to(tmp_path / "out")
    for name, chars in (("cut.txt", 12), ("gone.txt", None), ("out/out.txt", None)):
        with document(session, name) as (found, documents):
            assert (None if found is None else found.chars) == chars
            assert name in {changed for _, changed in documents.changed}
