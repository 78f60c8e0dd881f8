"""A context by paths in a cluster: what a node makes of the copies is what the client's machine makes of the files."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from rlm_kernel_mcp.cluster.contexts import gathering
from rlm_kernel_mcp.cluster.contexts.gathering import Wanted, gathered
from rlm_kernel_mcp.cluster.contexts.placing import placed
from rlm_kernel_mcp.cluster.shared.protocol import SharedStore
from rlm_kernel_mcp.context.held import Room
from rlm_kernel_mcp.context.payload import Payload
from rlm_kernel_mcp.context.roots.open_roots import Roots
from rlm_kernel_mcp.context.sources import resolve_sources
from rlm_kernel_mcp.errors import (
    ContextDenied,
    ContextNotFound,
    ContextTooLarge,
    InvalidInput,
    RequestRefused,
    StoreDamaged,
    StoreUnavailable,
)
from rlm_kernel_mcp.session.contexts.manifests import place_of
from rlm_kernel_mcp.session.contexts.means import Means
from rlm_kernel_mcp.session.contexts.source import ContextSource
from rlm_kernel_mcp.settings import Settings, load_settings

pytestmark = pytest.mark.anyio
ROOM = Room(50_000_000)


@dataclass
class Blobs:
    """A store of blobs in memory. `fails`: what each writing raises."""

    kept: dict[str, bytes] = field(default_factory=dict)
    fails: Exception | None = None
    before_put: Callable[[], object] = lambda: None

    async def has_blob(self, sha256: str) -> bool:
        return sha256 in self.kept

    async def put_blob(self, session_id: str, sha256: str, chunks: Iterable[bytes]) -> None:
        assert session_id == ""
        if self.fails is not None:
            raise self.fails
        self.before_put()
        data = b"".join(chunks)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError("other bytes")
        self.kept[sha256] = data

    async def blob(self, sha256: str) -> AsyncIterator[bytes]:
        if sha256 not in self.kept:
            raise StoreDamaged("There is no such blob.")
        for start in range(0, len(self.kept[sha256]), 7_001):
            yield self.kept[sha256][start : start + 7_001]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The client's own directory, which no node has."""
    found = tmp_path / "home" / "project"
    found.mkdir(parents=True)
    return found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a node."""
    return load_settings(tmp_path, {"HOME": str(tmp_path), "RLM_STATE_DIR": str(tmp_path / "node")})


def wanted(home: Path, *paths: str, exclude: tuple[str, ...] = (), room: Room = ROOM) -> Wanted:
    return Wanted(paths, exclude, Roots.named(home), home, str(home.parent), room)


async def at_node(settings: Settings, blobs: Blobs, manifest: str, *paths: str) -> Payload:
    """What a node reads of the copies."""
    await placed(cast(SharedStore, blobs), settings.state_dir, manifest)
    return ContextSource(paths=paths, manifest=manifest).open(Means(settings, ROOM))


def facts(payload: Payload) -> tuple[object, ...]:
    """What a client is told of a context, and what its citations say."""
    names = [(one.name, one.byte_count, one.encoding) for one in payload.documents]
    with payload:
        return names, payload.prefix, payload.sha256, payload.byte_count, payload.skipped


def write(home: Path) -> None:
    for name, text in {
        "a.txt": "first\n",
        "empty.txt": "",
        "src/deep/b.py": "x = 1\n" * 1_000,
        "src/ü (2).md": "Grüße\n",
        ".hidden/secret": "no",
        ".gitignore": "build/\n",
        "build/out.txt": "no",
        "large.log": "a line of a log\n" * 100_000,
        "pack.zip": "no",
        "late.bin": "text\n" * 20_000 + "\0\1\2" * 50_000,
    }.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (home / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0" * 100)
    (home / "same.txt").write_text("first\n", encoding="utf-8")
    (home / "link").symlink_to("a.txt")


@pytest.mark.parametrize(
    "paths", [["."], ["src", "a.txt"], ["src/**/*.py"], ["large.log"], ["a.txt", "same.txt"], [".hidden", "src/deep"]]
)
async def test_a_node_reads_what_the_client_would_have_read(home: Path, settings: Settings, paths: list[str]) -> None:
    write(home)
    blobs = Blobs()
    sources = ContextSource(paths=tuple(paths), working_dir=str(home), home=str(home.parent), roots=Roots.named(home))
    own = facts(sources.open(Means(settings, ROOM)))
    manifest = await gathered(wanted(home, *paths), cast(SharedStore, blobs))
    there = await at_node(settings, blobs, manifest, *paths)
    assert all(str(settings.state_dir) in (one.path or "") for one in there.documents)
    assert facts(there) == own


async def test_small_files_are_put_together_and_nothing_is_put_that_no_node_reads(home: Path) -> None:
    write(home)
    blobs = Blobs()
    await gathered(wanted(home, "."), cast(SharedStore, blobs))
    assert len(blobs.kept) == 3  # the small ones, the log, and the manifest
    assert not any(b"PNG" in data or data == b"no" for data in blobs.kept.values())


async def test_a_context_that_the_store_has_is_not_put_again(home: Path) -> None:
    write(home)
    blobs = Blobs()
    first = await gathered(wanted(home, "large.log"), cast(SharedStore, blobs))
    puts = list[int]()
    blobs.before_put = lambda: puts.append(1)
    assert await gathered(wanted(home, "large.log"), cast(SharedStore, blobs)) == first
    assert len(puts) == 1  # the manifest


async def test_what_is_read_again_after_a_move_is_what_it_was(home: Path, settings: Settings, tmp_path: Path) -> None:
    """Another node, whose copies are other files, and no path of the first one's in the record."""
    write(home)
    blobs = Blobs()
    manifest = await gathered(wanted(home, "."), cast(SharedStore, blobs))
    there = await at_node(settings, blobs, manifest, str(home))
    source = ContextSource(paths=(str(home),), manifest=manifest)
    reference = source.reference(settings)
    assert str(settings.state_dir) not in str(reference)
    other = load_settings(tmp_path, {"HOME": str(tmp_path), "RLM_STATE_DIR": str(tmp_path / "other")})
    again = ContextSource.of_reference(reference)
    with pytest.raises(ContextNotFound, match="their copies are not on this one"):
        again.open(Means(other, ROOM))
    await placed(cast(SharedStore, blobs), other.state_dir, manifest)
    assert facts(again.open(Means(other, ROOM))) == facts(there)


@pytest.mark.parametrize(
    ("paths", "kind"),
    [
        (["../other.txt"], ContextDenied),
        (["/etc/passwd"], ContextDenied),
        (["none.txt"], ContextNotFound),
        (["*.none"], ContextNotFound),
        (["pack.zip"], InvalidInput),
        (["*.png"], ContextNotFound),
        ([""], InvalidInput),
        (["large.log"], ContextTooLarge),
    ],
)
async def test_what_is_refused_at_home_is_refused_in_the_same_words(
    home: Path, settings: Settings, paths: list[str], kind: type[RequestRefused]
) -> None:
    write(home)
    (home.parent / "other.txt").write_text("not below the root", encoding="utf-8")
    room = Room(1_000) if paths == ["large.log"] else ROOM
    source = ContextSource(paths=tuple(paths), working_dir=str(home), home=str(home.parent), roots=Roots.named(home))
    with pytest.raises(kind) as own:
        source.open(Means(settings, room)).close()
    blobs = Blobs()
    with pytest.raises(kind) as there:
        await gathered(wanted(home, *paths, room=room), cast(SharedStore, blobs))
    assert (str(there.value), there.value.next_step) == (str(own.value), own.value.next_step)
    assert blobs.kept == {}


async def test_a_large_file_that_is_written_to_while_it_is_copied_is_what_was_read_last(
    home: Path, settings: Settings
) -> None:
    path = home / "grows.log"
    path.write_bytes(b"one\n" * 500_000)
    blobs = Blobs()

    def once() -> None:
        blobs.before_put = lambda: None
        with path.open("r+b") as file:
            file.write(b"two\n")

    blobs.before_put = once
    manifest = await gathered(wanted(home, "grows.log"), cast(SharedStore, blobs))
    there = await at_node(settings, blobs, manifest, "grows.log")
    with there:
        assert there.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_store_that_takes_nothing_is_the_error_of_the_call(home: Path) -> None:
    write(home)
    blobs = Blobs(fails=StoreUnavailable("The shared store is full."))
    with pytest.raises(StoreUnavailable, match="full"):
        await gathered(wanted(home, "a.txt"), cast(SharedStore, blobs))


async def test_copies_that_are_not_whole_are_not_taken_for_the_context(home: Path, settings: Settings) -> None:
    write(home)
    blobs = Blobs()
    manifest = await gathered(wanted(home, "large.log"), cast(SharedStore, blobs))
    largest = max(blobs.kept, key=lambda one: len(blobs.kept[one]))
    whole, blobs.kept[largest] = blobs.kept[largest], blobs.kept[largest][:-1]
    with pytest.raises(StoreDamaged, match="shorter than its manifest says"):
        await placed(cast(SharedStore, blobs), settings.state_dir, manifest)
    assert list(place_of(settings.state_dir, manifest).parent.iterdir()) == []
    blobs.kept[largest] = whole
    (await at_node(settings, blobs, manifest, "large.log")).close()


@pytest.mark.parametrize("name", ["../../etc", "", "Z" * 64, "a" * 64])
async def test_what_names_no_manifest_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises((InvalidInput, StoreDamaged)):
        await placed(cast(SharedStore, Blobs()), settings.state_dir, name)


async def test_a_compressed_file_goes_as_it_is_and_ends_as_it_did(home: Path, settings: Settings) -> None:
    (home / "log.txt.gz").write_bytes(gzip.compress(b"a line\n" * 1_000))
    blobs = Blobs()
    manifest = await gathered(wanted(home, "."), cast(SharedStore, blobs))
    await placed(cast(SharedStore, blobs), settings.state_dir, manifest)
    assert (place_of(settings.state_dir, manifest) / "0.gz").read_bytes() == (home / "log.txt.gz").read_bytes()


def test_the_thread_that_copies_ends_where_nobody_waits(home: Path) -> None:
    write(home)

    def nobody() -> None:
        raise gathering.NobodyWaits

    with pytest.raises(gathering.NobodyWaits):
        gathering.copied(wanted(home, "large.log"), cast(gathering.Shelf, None), nobody)
    assert resolve_sources(["a.txt"], roots=Roots.named(home), working_dir=home, max_bytes=10).files
